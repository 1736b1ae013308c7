"""flagd's sync service: flagd's in-process providers get the flags of an environment from it.

`server.py` speaks gRPC on GRPC_PORT, by the optional package grpcio; nothing else imports that.
`handlers.py` answers the unary calls and `GET /v1/flags` on the main port. Only snapshots and
tokens in memory are read, so the service goes on while the database is away.
"""
