"""fastnn: small neural networks, trained fast on a CPU."""
