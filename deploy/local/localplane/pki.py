"""Keys and certificates of one control plane, valid for a week. Imports cryptography.

A certificate authority, one for the front proxy, the API server's certificate, a client certificate for every part
and for the administrator, and the key pair that signs service-account tokens.
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 7
_CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kwok": ("kwok", "system:masters"),
    "front-proxy": ("front-proxy-client", ""),
}


@dataclass(frozen=True, slots=True)
class Pki:
    """Files of the keys and certificates, all in one folder.

    Parameters
    ----------
    folder
        Holds ``ca.crt``, ``ca.key``, ``front-proxy-ca.crt``, ``apiserver.{crt,key}``, ``sa.{key,pub}`` and, for each
        client, ``NAME.{crt,key}``.
    """

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def create_pki(folder: Path) -> Pki:
    """Create everything anew in ``folder`` (readable by its owner only)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, front_proxy = _authority(folder, "ca"), _authority(folder, "front-proxy-ca")
    _server(folder, authority)
    for name, (common_name, organization) in _CLIENTS.items():
        signer = front_proxy if name == "front-proxy" else authority
        _client(folder, name, common_name, organization, signer)
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "sa.key", signing)
    public = signing.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "sa.pub").write_bytes(public)
    return Pki(folder)


def _authority(folder: Path, name: str) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pdscaler local {name}")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder, name, key, certificate)
    return _Authority(key, certificate)


def _server(folder: Path, authority: _Authority) -> None:
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    addresses = ["127.0.0.1", "10.0.0.1"]
    alternatives = x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    _issue(folder, "apiserver", subject, authority, usage=ExtendedKeyUsageOID.SERVER_AUTH, alternatives=alternatives)


def _client(folder: Path, name: str, common_name: str, organization: str, authority: _Authority) -> None:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    _issue(folder, name, x509.Name(attributes), authority, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def _issue(
    folder: Path,
    name: str,
    subject: x509.Name,
    authority: _Authority,
    *,
    usage: x509.ObjectIdentifier,
    alternatives: x509.SubjectAlternativeName | None = None,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = authority.certificate.public_key()
    assert isinstance(issuer_key, ec.EllipticCurvePublicKey)
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    _write(folder, name, key, builder.sign(authority.key, hashes.SHA256()))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
    )


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    _write_key(folder / f"{name}.key", key)
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
