"""TensorFlow Serving's messages, as few as a client needs, under our own package name.

Message names do not travel on the wire: field numbers and types do, and those are the official ones. So these
definitions talk to TensorFlow Serving without TensorFlow, and live beside TensorFlow's own in one process.
`make protos` regenerates the `*_pb2` files from the `.proto` files.
"""
