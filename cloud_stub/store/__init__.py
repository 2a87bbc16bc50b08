"""The durable side of the stub: tables, resource model, OData queries, group commits.

Nothing here decides what a device's status is; rows come from the core and are written.
"""
