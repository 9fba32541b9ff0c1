"""Print the messages as TypeScript's interfaces."""

from nbinterp.widgets.protocol.typescript import typescript

print(typescript(), end="")
