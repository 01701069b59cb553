"""What locust loads: the users there are."""

from vitrine_client.load.users import GrpcUser, RestUser

__all__ = ["GrpcUser", "RestUser"]
