"""Receives messages from an AMQP 1.0 broker and prints all there is of each.

Usage: receive.py URL USER PASSWORD ADDRESS COUNT

One JSON object a line; a value that is there has its AMQP type beside it.
"""
import json
import sys

from proton import symbol, ulong
from proton.handlers import MessagingHandler
from proton.reactor import Container


def typed(value):
    # Proton shows a symbol that is not there as the symbol "None".
    if value is None or isinstance(value, symbol) and value == "None":
        return None
    # These are a text and a number to Python, and types of their own here.
    for kind in (symbol, ulong):
        if isinstance(value, kind):
            return {"type": kind.__name__, "value": str(value)}
    return {"type": type(value).__name__, "value": value}


class Receiver(MessagingHandler):
    def __init__(self, url, user, password, address, count):
        super().__init__(prefetch=count, auto_accept=True)
        self.url, self.user, self.password = url, user, password
        self.address, self.left = address, count

    def on_start(self, event):
        connection = event.container.connect(
            self.url, user=self.user, password=self.password, allowed_mechs="PLAIN", reconnect=False)
        event.container.create_receiver(connection, self.address)

    def on_message(self, event):
        m = event.message
        print(json.dumps({
            "body": typed(m.body), "inferred": m.inferred, "durable": m.durable, "priority": m.priority, "ttl": m.ttl,
            "content_type": typed(m.content_type), "content_encoding": typed(m.content_encoding),
            "correlation_id": typed(m.correlation_id), "id": typed(m.id), "subject": m.subject, "reply_to": m.reply_to,
            "address": m.address, "group_id": m.group_id, "creation_time": m.creation_time, "user_id": m.user_id.decode(),
            "properties": {k: typed(v) for k, v in (m.properties or {}).items()},
        }), flush=True)
        self.left -= 1
        if not self.left:
            event.receiver.close()
            event.connection.close()

    def on_transport_error(self, event):
        sys.exit(str(event.transport.condition))


Container(Receiver(*sys.argv[1:5], int(sys.argv[5]))).run()
