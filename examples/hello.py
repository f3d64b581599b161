"""The smallest function: greets whoever the body names."""


def handler(context, event):
    body = event.body if isinstance(event.body, dict) else {}
    return {"hello": body.get("name", "world")}
