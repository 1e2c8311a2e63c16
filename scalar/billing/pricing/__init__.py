"""How a price comes of GPU-seconds: one model a file, pure.

    flat        each second costs the same
    graduated   the first seconds of a month cost this, those above a threshold that
    volume      all seconds of a month cost what its total reaches
    package     so many seconds at a time, each package that is begun in full
    market      what the market asks, and a margin, up to a cap

Owns: the arithmetic of a price, and how a model is written as JSON. Doesn't own: whose price it is (`rate_cards`),
which seconds are free (`rating`).

Invariants:
- A price is dollars per GPU-second with at most twelve decimals and seconds have six, so that a charge is exact in
  eighteen: charges of parts add up to the charge of the whole, to the last digit.
- A charge is never negative.
"""
