"""The gRPC service: its definition, and code made from it by `make proto`."""
