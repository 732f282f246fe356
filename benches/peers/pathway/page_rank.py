"""PageRank of a graph that grows, as `benches/engine page_rank` has it: Pathway's own `pagerank`, five rounds.

Usage: page_rank.py BATCHES

Each batch adds 1,000 edges of the same 20,000 nodes, and is committed by itself. Prints the seconds from the first edge to the end. The
interpreter's start and the building of the program do not count.
"""
import sys
import time

import pathway as pw
from pathway.stdlib.graphs.pagerank import pagerank

NODES = 20_000
EDGES = 1_000  # in a batch
MASK = (1 << 64) - 1


def numbers():
    """The generator of benches/shared.rs, splitmix64."""
    state = 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def batches(count):
    draw = numbers()
    node = lambda: next(draw) % NODES * (next(draw) % NODES) // NODES
    return [[(node(), node()) for _ in range(EDGES)] for _ in range(count)]


class Graph(pw.io.python.ConnectorSubject):
    """Gives the edges to Pathway, a batch for each commit."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def run(self):
        self.began = time.monotonic()
        for batch in self.given:
            for u, v in batch:
                self.next(u=u, v=v)
            self.commit()


class Edge(pw.Schema):
    u: int
    v: int


def main():
    graph = Graph(batches(int(sys.argv[1])))
    edges = pw.io.python.read(graph, schema=Edge, autocommit_duration_ms=None)
    ranks = pagerank(edges.select(u=edges.pointer_from(edges.u), v=edges.pointer_from(edges.v)), steps=5)
    pw.io.null.write(ranks)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    print(time.monotonic() - graph.began)


if __name__ == "__main__":
    main()
