"""Results as altair charts: pure functions from frames, in one theme. Everything from the user is data, never markup."""
