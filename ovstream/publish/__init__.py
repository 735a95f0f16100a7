"""Embeddings over ZeroMQ: publisher and subscriber. This package alone talks to pyzmq."""

from ovstream.publish.events import Event, Gap, Reset, Stale
from ovstream.publish.keys import KeyPair, SubscriberKeys
from ovstream.publish.reception import StreamHealth, SubscriptionStats
from ovstream.publish.subscriber import subscribe
from ovstream.publish.subscription import Subscription
from ovstream.publish.zmq_publisher import Publisher, PublisherStats

__all__ = [
    "Event",
    "Gap",
    "KeyPair",
    "Publisher",
    "PublisherStats",
    "Reset",
    "Stale",
    "StreamHealth",
    "SubscriberKeys",
    "Subscription",
    "SubscriptionStats",
    "subscribe",
]
