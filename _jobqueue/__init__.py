"""The inside of jobqueue. Import ``jobqueue``, not this: names in here may change with any version."""
