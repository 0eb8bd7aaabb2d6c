"""`eventveil keys`: create keys, and control who may subscribe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventveil.cli.options import JsonOption, print_json, say, stdout
from eventveil.errors import AccessError

KeysOption = Annotated[Path, typer.Option("--keys", metavar="DIR", help="The publisher's key folder.")]
DEFAULT = Path("keys")


def register(app: typer.Typer) -> None:
    """Add the `keys` commands to the program."""
    keys = typer.Typer(
        no_args_is_help=True,
        help="Create keys: encrypt what is published, and control who may subscribe (docs/security.md).",
    )
    keys.command("new")(new)
    keys.command("allow")(allow)
    keys.command("list")(show)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create; only you may enter it.")],
    name: Annotated[str | None, typer.Option(help="Name of the key's owner [name of the folder].")] = None,
    json: JsonOption = False,
) -> None:
    """Create the keys of a publisher or a subscriber: a secret key to keep and a public key to share.

    Publishers and subscribers exchange their .pub files over a trusted channel; a substituted key would be accepted.
    Compare the fingerprints over the telephone: they are equal only if the keys are.

    For example:

    eventveil keys new line

    eventveil keys new alice
    """
    from eventveil.stream.protocol.keys import SECRET, new_keys, read_public

    public = new_keys(folder, name)
    secret, made = folder / SECRET, read_public(public)
    if json:
        key = {"key": made.key.decode(), "fingerprint": made.fingerprint}
        print_json({"public": str(public), "secret": str(secret), **key})
        return
    say(f"{secret}: secret key; keep it private")
    say(f"{public}: public key; share it over a trusted channel, a substituted key would be accepted")
    say(f"Its fingerprint, to compare with the one that the other side sees: {made.fingerprint}")
    say(f"To subscribe, send {public} to the publisher's owner, who runs:")
    say(f"  eventveil keys allow {public} --keys line")
    say("then use the publisher's public key, here line.pub:")
    say(f"  eventveil subscribe tcp://HOST:5556 --server-key line.pub --key {secret}")
    say("To publish, add to eventveil run:")
    say(f"  --set publish.keys={folder}")


def allow(
    clients: Annotated[
        list[Path], typer.Argument(metavar="CLIENT.pub...", help="Public keys made by `eventveil keys new`.")
    ],
    keys: KeysOption = DEFAULT,
    json: JsonOption = False,
) -> None:
    """Allow subscribers. A running pipeline accepts them within two seconds.

    Ask each subscriber whether the printed fingerprint is that of their key, as `eventveil keys new` printed it.

    Example:  eventveil keys allow alice/alice.pub --keys line
    """
    from eventveil.stream.protocol.keys import AllowList, read_folder, read_public

    read_folder(keys)
    allow_list, allowed = AllowList(keys), []
    for client in clients:
        _suggest_path(client)
        public = read_public(client)
        path = allow_list.allow(public)
        allowed.append({"name": public.name, "path": str(path), "fingerprint": public.fingerprint})
        if not json:
            say(f"{path}: may subscribe; fingerprint {public.fingerprint}")
    if json:
        print_json({"allowed": allowed})


def _suggest_path(client: Path) -> None:
    """Name the right file if a public key is missing and `keys new` has made one of that name.

    Raises:
        AccessError: NAME.pub or NAME was given, and the key is in NAME/NAME.pub.
    """
    if client.is_file() or not client.name:
        return
    name = client.name.removesuffix(".pub")
    candidate = client.with_name(name) / f"{name}.pub"
    if candidate.is_file():
        raise AccessError(f"{client}: no such file; did you mean {candidate}?")


def show(keys: KeysOption = DEFAULT, json: JsonOption = False) -> None:
    """List who may subscribe: public keys, their fingerprints, and names.

    Example:  eventveil keys list --keys line
    """
    from eventveil.stream.protocol.keys import AllowList, key_fingerprint, read_folder

    publisher, allowed = read_folder(keys).public, AllowList(keys).read()
    fingerprints = {key: key_fingerprint(key) for key in (publisher, *allowed)}
    if json:
        print_json({
            "publisher": publisher.decode(),
            "allowed": {name: key.decode() for key, name in allowed.items()},
            "fingerprints": {key.decode(): text for key, text in fingerprints.items()},
        })  # fmt: skip
        return
    stdout.print(f"publisher  {publisher.decode()}  {fingerprints[publisher]}", markup=False)
    for key, name in sorted(allowed.items(), key=lambda entry: entry[1]):
        stdout.print(f"allowed    {key.decode()}  {fingerprints[key]}  {name}", markup=False)
    if not allowed:
        say(f"the list of subscribers is empty; add one: eventveil keys allow CLIENT.pub --keys {keys}")


def revoke(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names as shown by `eventveil keys list`.")],
    keys: KeysOption = DEFAULT,
    json: JsonOption = False,
) -> None:
    """Revoke subscribers. A running pipeline disconnects them within two seconds.

    All other subscribers stay connected.

    Example:  eventveil keys revoke alice --keys line
    """
    from eventveil.stream.protocol.keys import AllowList, read_folder

    read_folder(keys)
    allow_list = AllowList(keys)
    for name in names:
        allow_list.revoke(name.removesuffix(".pub"))
        if not json:
            say(f"{name}: may no longer subscribe")
    if json:
        print_json({"revoked": names})
