"""What stages are put together from: opening inputs, sharing chunks, quarantine, room on the disk."""
