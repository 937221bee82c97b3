"""Calls from one service to another through the Fyke beside it.

    with fyke_client.incoming(request.headers):                        # once for each request that a service gets
        answer = Client("127.0.0.11:9000").get("http://orders/7", timeout=0.5, retries=2)

What a request carries goes along (`context`), how long a call may take and when it is tried again is said in headers (`policy`), and
MongoDB is told which function asks (`mongo`). The proxy does the rest; nothing here waits, repeats or balances.
"""

from .call import Answer, Client
from .context import incoming, outgoing, request_id, trace_id
from .mongo import callsite, comment, commented
from .policy import policy

__all__ = [
    "Answer", "Client", "callsite", "comment", "commented", "incoming", "outgoing", "policy", "request_id", "trace_id",
]
