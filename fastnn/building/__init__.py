"""How a wheel of fastnn is made; nothing of the package imports this."""
