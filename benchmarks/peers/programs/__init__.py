"""What runs inside the peers' environments: one module for each peer, and what they share.

Nothing here imports the rest of the project, whose dependencies those environments lack.
"""
