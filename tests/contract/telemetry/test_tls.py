"""TLS with the administrator's own CA and a client certificate, both rotated on disk."""

import os
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from localplane.ports import free_port
from localplane.processes import Processes
from localplane.toolset import Tools
from localplane.waiting import wait_for
from pdscaler.core.workload import NoData, NoDataReason, Telemetry
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.reader import Reader, ReadError
from support.faulty_proxy import FaultyProxy
from support.subjects import subject

pytestmark = pytest.mark.prometheus
ASKED = ("steady",)


@dataclass(frozen=True)
class Authority:
    """A certificate authority in memory."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject_name, subject_name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(name, key, certificate)

    def issue(self, folder: Path, name: str) -> tuple[str, str]:
        """Write a certificate for 127.0.0.1 and its key; return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), self.certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(_usage(certificates=False), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(paths[0]), str(paths[1])

    def write(self, path: Path) -> str:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)


def _builder(subject_name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("operators")


@pytest.fixture
async def proxy(authority: Authority, tmp_path: Path, history_url: str) -> AsyncIterator[FaultyProxy]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.write(tmp_path / "server-ca.crt"))
    context.load_cert_chain(*authority.issue(tmp_path, "server"))
    context.verify_mode = ssl.CERT_REQUIRED
    async with FaultyProxy(history_url, context) as running:
        yield running


def test_a_prometheus_that_asks_for_certificates_itself(
    authority: Authority, prometheus_tools: Tools, tmp_path: Path
) -> None:
    """Prometheus's own TLS; certificate and key of the client are read again when they are rotated on disk."""
    stranger = Authority.create("strangers")
    server, client, foreign = (tmp_path / name for name in ("server", "client", "foreign"))
    for folder in (server, client, foreign):
        folder.mkdir()
    certificate, key = authority.issue(server, "server")
    settings = {
        "cert_file": certificate,
        "key_file": key,
        "client_ca_file": authority.write(server / "ca.crt"),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"tls_server_config": settings}))
    prometheus = tmp_path / "prometheus.yml"
    prometheus.write_text("{}")
    port = free_port()
    files = stranger.issue(client, "client")
    endpoint = Endpoint("secure", f"https://127.0.0.1:{port}", str(server / "ca.crt"), None, *files)
    reader = Reader(endpoint)

    def answers() -> bool:
        try:
            return reader.time_s(5.0) > 0
        except ReadError:
            return False

    processes = Processes(tmp_path)
    processes.start(
        "prometheus",
        [
            prometheus_tools["prometheus"],
            f"--config.file={prometheus}",
            f"--web.config.file={web}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
        ],
    )
    try:
        for rotation, (issuer, welcome) in enumerate([(authority, True), (stranger, False), (authority, True)], 1):
            for made, file in zip(issuer.issue(foreign, "client"), files, strict=True):
                Path(made).replace(file)
                os.utime(file, (time.time() + 10 * rotation,) * 2)
            wait_for(f"the answer to be {welcome}", lambda welcome=welcome: answers() is welcome)  # type: ignore[misc]
        nobody = Reader(replace(endpoint, client_cert_file=None, client_key_file=None))
        with pytest.raises(ReadError, match="PrometheusUnreachable"):
            nobody.time_s(5.0)
        nobody.close()
    finally:
        reader.close()
        processes.close()


async def test_certificates_are_used_checked_and_read_again(
    collector: Collector, proxy: FaultyProxy, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority.create("strangers")
    certificate, key = authority.issue(tmp_path, "client")
    ca = tmp_path / "ca.crt"
    endpoint = Endpoint("secure", proxy.url, str(ca), None, certificate, key)

    async def read(asked: Endpoint) -> Telemetry | NoData:
        wanted = subject(proxy.url, "steady", endpoint=asked)
        return (await collector.collect([wanted]))[wanted.key]

    missing = await read(endpoint)
    assert isinstance(missing, NoData)
    assert missing.reason is NoDataReason.PROMETHEUS_UNREACHABLE
    assert "certificate files that cannot be read" in missing.message

    stranger.write(ca)
    refused = await read(endpoint)
    assert isinstance(refused, NoData)
    assert refused.reason is NoDataReason.PROMETHEUS_UNREACHABLE
    assert "TLS" in refused.message

    _touched(ca, authority)
    assert isinstance(await read(endpoint), Telemetry)

    anonymous = await read(replace(endpoint, client_cert_file=None, client_key_file=None))
    assert isinstance(anonymous, NoData)
    assert anonymous.reason is NoDataReason.PROMETHEUS_UNREACHABLE


def _touched(path: Path, authority: Authority) -> None:
    """Rotate, with another time of change, whatever the file system's resolution."""
    authority.write(path)
    os.utime(path, (time.time() + 10, time.time() + 10))
