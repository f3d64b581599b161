"""The layers of an image: each a pure function of its inputs, made once and found again by them."""
