"""Side-by-side timings of fastnn and of what a user could pick instead; see README.md."""
