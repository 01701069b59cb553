"""Other servers of the same model, each in a virtual environment of its own and set up as its documentation advises.

catalogue: which they are, and what they are asked. environments: where they are installed. servers: start, end, memory
and CPU time. clients: load. programs: what runs inside the environments.
"""
