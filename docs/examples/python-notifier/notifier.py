"""A notifier in Python: it appends every event to a file, as a line of JSON.

It speaks the plugin protocol with nothing but gRPC: the messages are made by
protoc from sdk/proto, and build.sh puts all of it into one file.
"""
import base64
import datetime
import json
import os
import sys
import threading
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iib.plugin.v1 import common_pb2, notifier_pb2, plugin_pb2


class Plugin:
    """What every plugin answers: what it is, and its settings."""

    path = ""

    def describe(self, request, context):
        return plugin_pb2.DescribeResponse(
            name="python-notifier", version="1.0", doc="Appends every event to a file.", notifier=True,
            schema=plugin_pb2.Schema(attributes=[plugin_pb2.Attribute(
                name="path", type=plugin_pb2.TYPE_STRING, required=True, doc="The file, as an absolute path.")]))

    def configure(self, request, context):
        self.path = json.loads(request.config)["path"]
        return plugin_pb2.ConfigureResponse()

    def validate(self, request, context):
        problems = []
        if not os.path.isabs(self.path):
            problems.append(common_pb2.Error(
                code=common_pb2.CODE_INVALID, field="path", message=f'path: "{self.path}" must be an absolute path'))
        return plugin_pb2.ValidateResponse(problems=problems)

    def start(self, request, context):
        return plugin_pb2.StartResponse()

    def close(self, request, context):
        return plugin_pb2.CloseResponse()


class Notifier:
    """What a notifier answers besides."""

    def __init__(self, plugin):
        self.plugin = plugin
        self.lock = threading.Lock()  # calls come concurrently

    def notify(self, request, context):
        event = request.event
        line = json.dumps({
            "id": event.id, "kind": notifier_pb2.EventKind.Name(event.kind), "delivery": event.delivery,
            "batch": event.batch, "request": event.request, "state": event.state, "user": event.user,
            "body": json.loads(event.body)})
        try:
            with self.lock, open(self.plugin.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            # The event stays, and is delivered again later.
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return notifier_pb2.NotifyResponse()


def service(name, **methods):
    """A gRPC service of methods that take and return a message each."""
    return grpc.method_handlers_generic_handler(name, {
        method: grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=message.FromString, response_serializer=lambda answer: answer.SerializeToString())
        for method, (call, message) in methods.items()})


def health():
    """grpc.health.v1.Health, which always answers SERVING."""
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
        "Check": grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")})


def certificate():
    """A new key and a certificate for localhost that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.utcnow()
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1)).not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))
    return key, made


def main():
    if os.environ.get("IIB_PLUGIN") != "serve":
        sys.exit("python-notifier is a plugin of the iib engine: name it in iib.hcl.")
    plugin = Plugin()
    notifier = Notifier(plugin)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((
        health(),
        service("iib.plugin.v1.Plugin",
                Describe=(plugin.describe, plugin_pb2.DescribeRequest), Configure=(plugin.configure, plugin_pb2.ConfigureRequest),
                Validate=(plugin.validate, plugin_pb2.ValidateRequest), Start=(plugin.start, plugin_pb2.StartRequest),
                Close=(plugin.close, plugin_pb2.CloseRequest)),
        service("iib.plugin.v1.Notifier", Notify=(notifier.notify, notifier_pb2.NotifyRequest)),
    ))
    key, made = certificate()
    encoding = serialization.Encoding
    credentials = grpc.ssl_server_credentials(
        [(key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
          made.public_bytes(encoding.PEM))],
        root_certificates=os.environ["PLUGIN_CLIENT_CERT"].encode(), require_client_auth=True)
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "notifier.sock")
    server.add_secure_port("unix:" + socket, credentials)
    server.start()
    shown = base64.b64encode(made.public_bytes(encoding.DER)).decode().rstrip("=")
    print(f"1|1|unix|{socket}|grpc|{shown}", flush=True)
    server.wait_for_termination()


main()
