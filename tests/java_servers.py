"""Kafka and OpenSearch, the real servers, as processes of the tests.

Both are Apache-2.0 and stay separate programs, in a cache outside the checkout: `python -m
tests.java_servers` gets their jars with Maven. Java is Debian's `openjdk-17-jre-headless`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.requirements import require
from tests.servers import unused_port

_CACHE = Path(os.environ.get("MLOPS_TEST_CACHE") or Path.home() / ".cache" / "mlops-tests")
_KAFKA = ("org.apache.kafka:kafka_2.13:3.9.1", "org.slf4j:slf4j-nop:1.7.36")
_OPENSEARCH = (
    "org.opensearch:opensearch:2.19.3",
    "org.opensearch.plugin:transport-netty4-client:2.19.3",
    "org.apache.logging.log4j:log4j-core:2.21.0",
)
# Its own starter wants a folder of scripts and a security manager.
_NODE = """
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

public class TestNode extends Node {
    TestNode(Settings settings, Path config) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "test"),
              List.of(Netty4Plugin.class), true);
    }

    public static void main(String[] args) throws Exception {
        Settings settings = Settings.builder()
            .put("path.home", args[0]).put("path.data", args[0] + "/data")
            .put("cluster.name", "test").put("node.name", "test")
            .put("network.host", "127.0.0.1").put("http.port", args[1])
            .put("transport.port", "0").put("discovery.type", "single-node")
            .put("transport.type", "netty4").put("http.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        new TestNode(settings, Path.of(args[0], "config")).start();
        new java.util.concurrent.CountDownLatch(1).await();
    }
}
"""
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
num.partitions=3
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
"""
_SMALL = ("-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def find(name: str) -> Path | None:
    """Return the folder of a server's jars; None if it, or Java, is not here."""
    jars = _CACHE / name
    return jars if shutil.which("java") and (jars / "ready").exists() else None


def jars_of(name: str) -> Path:
    """Return the folder of a server's jars for a test; skip it unless it is asked for.

    A node starts in ten seconds, which each run of the suite would pay: `nox -s brokers` asks.
    """
    asked = name in os.environ.get("MLOPS_REQUIRE", "").split(",")
    jars = find(name) if asked else None
    require(name, jars, f"`nox -s brokers` tries it with a real {name}")
    assert jars is not None
    return jars


def build(name: str, artifacts: tuple[str, ...]) -> Path:
    """Get a server's jars."""
    jars = _CACHE / name
    shutil.rmtree(jars, ignore_errors=True)
    jars.mkdir(parents=True)
    wanted = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
        "</dependency>".format(*each.split(":"))
        for each in artifacts
    )
    (jars / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>tests</groupId><artifactId>{name}</artifactId><version>1</version>"
        f"<dependencies>{wanted}</dependencies></project>"
    )
    copy = ("dependency:copy-dependencies", f"-DoutputDirectory={jars}")
    subprocess.run(["mvn", "-q", "-B", *copy], cwd=jars, check=True)
    if name == "opensearch":
        (jars / "TestNode.java").write_text(_NODE)
        subprocess.run(
            ["javac", "-cp", f"{jars}/*", "-d", jars, jars / "TestNode.java"], check=True
        )
    (jars / "ready").touch()
    return jars


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Kafka:
    """A broker that can be ended and started again on the same port, with what it holds.

    Args:
        jars: From `find`.
        folder: Its own.
    """

    def __init__(self, jars: Path, folder: Path) -> None:
        port = unused_port()
        self.brokers = f"127.0.0.1:{port}"
        self._java = ["java", *_SMALL, "-cp", f"{jars}/*"]
        self._properties = folder / "server.properties"
        self._log = folder / "log"
        self._properties.write_text(
            _PROPERTIES.format(port=port, controller=unused_port(), folder=folder)
        )
        cluster = uuid.uuid4().hex[:22]
        form = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)]
        subprocess.run([*self._java, *form], check=True, capture_output=True)

    @contextmanager
    def running(self) -> Iterator[Kafka]:
        """Run it; senders wait until it answers."""
        with _running([*self._java, "kafka.Kafka", str(self._properties)], self._log):
            yield self


@contextmanager
def opensearch(jars: Path, folder: Path) -> Iterator[str]:
    """Run a node; yield its URL once it answers."""
    port = unused_port()
    (folder / "config").mkdir()
    node = ["java", *_SMALL, "-Dlog4j2.level=ERROR", "-cp", f"{jars}:{jars}/*"]
    url = f"http://127.0.0.1:{port}"
    with _running([*node, "TestNode", str(folder), str(port)], folder / "log") as process:
        from tests.waiting import wait_until

        wait_until(lambda: process.poll() is not None or _answers(url), 90)
        assert process.poll() is None, (folder / "log").read_text()
        yield url


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    for _name, _artifacts in (("kafka", _KAFKA), ("opensearch", _OPENSEARCH)):
        sys.stdout.write(f"{find(_name) or build(_name, _artifacts)}\n")
