"""Review of a label set in the browser: decisions about regions, kept in a journal, and spot checks of pixels."""
