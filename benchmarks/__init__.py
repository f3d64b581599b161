"""What Trimtab must reach, measured beside its peers and limits in the same run: `python -m benchmarks`.

One benchmark a module. Each has `rows(effort)`, which measures and gives `Row`s; `row`, `rounds`, `load`, `server`,
`home` and `page` are what they share.
"""
