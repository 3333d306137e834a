"""An AMQP 1.0 peer that settles messages as the name of their target says.

Usage: peer.py ADDRESS

It prints a line when it listens, and then one for each message: its target.
"""
import sys

from proton import Condition, Delivery
from proton.handlers import MessagingHandler
from proton.reactor import Container


class Peer(MessagingHandler):
    def __init__(self, address):
        super().__init__(prefetch=0, auto_accept=False)
        self.address = address

    def on_start(self, event):
        event.container.listen(self.address)
        print("ready", flush=True)

    def on_link_opening(self, event):
        link = event.link
        target = link.remote_target.address
        link.target.address = target
        if target == "small":
            link.max_message_size = 100
        link.open()
        link.flow(100)

    def on_message(self, event):
        delivery, target = event.delivery, event.link.target.address
        print(target, flush=True)
        if target == "detach":
            event.link.condition = Condition("amqp:resource-deleted", "the node went away")
            event.link.close()
            return
        if target == "close":
            event.connection.condition = Condition("amqp:connection:forced", "maintenance")
            event.connection.close()
            return
        state = {
            "reject": Delivery.REJECTED, "reject-mutely": Delivery.REJECTED,
            "release": Delivery.RELEASED, "modify": Delivery.MODIFIED,
        }.get(target, Delivery.ACCEPTED)
        if target == "reject":
            delivery.local.condition = Condition("amqp:precondition-failed", "the schema does not fit")
        delivery.update(state)
        delivery.settle()


Container(Peer(sys.argv[1])).run()
