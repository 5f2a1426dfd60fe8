"""DIMSE messages out of presentation data values, while they arrive (PS3.7 6.3.1, PS3.8 Annex E.2)."""

from __future__ import annotations

from hounsfield.wire.dimse import fields as f
from hounsfield.wire.dimse.command import MAX_COMMAND_LENGTH, Command, CommandError, decode_command
from hounsfield.wire.ul.events import Pdv


class CommandReceived:
    """A whole command set. With `command.has_data_set`, DataPiece follow until DataEnd."""

    __slots__ = ("command", "context_id")

    def __init__(self, context_id: int, command: Command) -> None:
        self.context_id = context_id
        self.command = command


class DataPiece:
    """A piece of the data set of the last command: a view that is valid as long as the PDV's. Never empty."""

    __slots__ = ("data",)

    def __init__(self, data: memoryview) -> None:
        self.data = data


class DataEnd:
    """The data set is complete."""

    __slots__ = ()


class AssemblyError:
    """The peer's PDVs make no message; the association is to be aborted. `reason` is a sentence."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


Received = CommandReceived | DataPiece | DataEnd | AssemblyError

_END = DataEnd()


class Assembler:
    """The receiving half of the messages of one association."""

    __slots__ = ("_awaits_data", "_command", "_context_id", "_failed")

    def __init__(self) -> None:
        self._command = bytearray()  # of a command that is not complete
        self._context_id = 0  # of the message that is not complete, 0 between messages
        self._awaits_data = False
        self._failed = False

    @property
    def between_messages(self) -> bool:
        """Whether no message is half received."""
        return not self._context_id

    def feed(self, pdv: Pdv) -> list[Received]:
        """What this piece of a PDV brings. After an AssemblyError nothing more comes."""
        if self._awaits_data and not pdv.is_command and pdv.context_id == self._context_id:
            data = pdv.data
            if pdv.is_last:
                self._awaits_data = False
                self._context_id = 0
                return [DataPiece(data), _END] if data else [_END]
            return [DataPiece(data)] if data else []
        if self._failed:
            return []
        if self._context_id and pdv.context_id != self._context_id:
            text = f"PDV of context {pdv.context_id} within a message of context {self._context_id}"
            return self._fail(text)
        if self._awaits_data:
            return self._fail("A command where the data set of the last one should go on")
        if not pdv.is_command:
            return self._fail("A data set where a command should be")
        return self._feed_command(pdv)

    def _feed_command(self, pdv: Pdv) -> list[Received]:
        gathered = self._command
        if len(gathered) + len(pdv.data) > MAX_COMMAND_LENGTH:
            return self._fail(f"A command of more than {MAX_COMMAND_LENGTH} bytes")
        if not pdv.is_last:
            self._context_id = pdv.context_id
            gathered += pdv.data
            return []
        raw: bytearray | memoryview = pdv.data
        if gathered:
            gathered += pdv.data
            raw, self._command = gathered, bytearray()
        try:
            command = decode_command(raw)
        except CommandError as error:
            return self._fail(str(error))
        if command.data_set_type == f.NO_DATA_SET:
            self._context_id = 0
        elif command.field in f.DATA_SET_FORBIDDEN:
            return self._fail(f"{command.name} announces a data set, which it cannot have")
        else:
            self._context_id = pdv.context_id
            self._awaits_data = True
        return [CommandReceived(pdv.context_id, command)]

    def _fail(self, reason: str) -> list[Received]:
        self._failed = True
        self._awaits_data = False
        self._command = bytearray()
        return [AssemblyError(reason)]
