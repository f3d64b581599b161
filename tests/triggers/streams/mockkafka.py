"""The brokers that librdkafka brings along for tests of clients: `python mockkafka.py` prints where they listen.

They speak Kafka's protocol over TCP, keep everything in memory, and know where a partition ends; they do not know times.
A topic is made for each line of stdin, and its name is printed when it is there.
"""

from __future__ import annotations

import ctypes
import sys

LIBRARY = "librdkafka.so.1"


def main() -> None:
    lib = ctypes.CDLL(LIBRARY)
    lib.rd_kafka_new.restype = lib.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    lib.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    lib.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    lib.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    why = ctypes.create_string_buffer(512)
    cluster = lib.rd_kafka_mock_cluster_new(lib.rd_kafka_new(0, None, why, len(why)), 1)
    print(lib.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    for line in sys.stdin:
        lib.rd_kafka_mock_topic_create(cluster, line.strip().encode(), 1, 1)
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
