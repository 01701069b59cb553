"""Load for a server: `python -m vitrine_client.load`, locust with users that ask over our own clients.

It needs locust: pip install 'vitrine-client[load]'. Nothing else in this package imports it.
"""
