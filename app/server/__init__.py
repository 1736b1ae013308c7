"""The running service: application, routes, start and stop, workers."""
