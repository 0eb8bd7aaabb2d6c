"""A ROS 2 node that publishes the gestures of a pipeline: python gestures_node.py tcp://127.0.0.1:5556"""

import sys
import threading

import rclpy
from rclpy.node import Node
from std_msgs.msg import String

from eventveil.stream import subscribe


def main() -> None:
    rclpy.init()
    node = Node("eventveil")
    publishers = {}
    spinning = threading.Thread(target=rclpy.spin, args=(node,), daemon=True)
    spinning.start()
    endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"
    for message in subscribe(endpoint, ["gesture"], stop=lambda: not rclpy.ok()):
        if message.topic != "gesture":  # messages about the pipeline always come, too
            continue
        stream = message.header.stream
        name = "".join(character if character.isalnum() else "_" for character in stream)
        if stream not in publishers:
            publishers[stream] = node.create_publisher(String, f"eventveil/stream_{name}/gesture", 10)
        publishers[stream].publish(String(data=message.header.label or ""))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
