"""fastnn next to what a user could pick instead: ``fastnn bench``.

`cases` is the table of what is timed.  A module of `contestants` has, for each
kind of work that its library can do, a function of the kind's name; `reference`
has all of them, in float64 and one plain line per formula, and says what the
answer is.  `clock` compares the answers, then lets the contestants take turns;
`processes` does the same with whole programs, and `report` writes down what
came out.
"""
