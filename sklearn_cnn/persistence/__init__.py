"""Models in files: a format that runs no code when it is read, and ONNX for other runtimes."""
