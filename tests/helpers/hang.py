"""The one limit on time in the tests. It ends a hang and judges nothing: a busy machine must never reach it."""

HANG_SECONDS = 600
