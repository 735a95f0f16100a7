"""Embeddings over ZeroMQ: publisher and subscriber. This package alone talks to pyzmq."""

from ovstream.publish.subscriber import subscribe
from ovstream.publish.subscription import StreamHealth, Subscription, SubscriptionStats
from ovstream.publish.tracker import Gap
from ovstream.publish.zmq_publisher import Publisher, PublisherStats

__all__ = [
    "Gap",
    "Publisher",
    "PublisherStats",
    "StreamHealth",
    "Subscription",
    "SubscriptionStats",
    "subscribe",
]
