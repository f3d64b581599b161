def total(prices, order):
    """Add up an order: {"apple": 3} costs three apples."""
    return sum(prices[name] * count for name, count in order.items())
