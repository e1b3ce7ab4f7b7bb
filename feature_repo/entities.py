"""Whom the features describe."""

from feast import Entity, ValueType

from propensity import columns

customer = Entity(
    name="customer",
    join_keys=[columns.CUSTOMER_ID],
    value_type=ValueType.STRING,
    description="A customer of the region.",
)
