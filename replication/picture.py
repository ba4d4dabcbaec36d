"""What a node says of itself: to its peer (HELLO, HEARTBEAT) and to people (Status). Reads, never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication import threads
from replication.core.machine import role_of
from replication.core.messages import PROTOCOL_MAX, PROTOCOL_MIN, Heartbeat, Hello, common_protocol
from replication.core.request import Kind, peek
from replication.core.types import IN_OFFICE, Backlog, NodeId, PeerStatus, Position, Role, SlotState, State, Status
from replication.errors import Forgotten
from replication.fork import list_forks

if TYPE_CHECKING:
    from replication.node import Node

_PROOFS = {Kind.CLOSED: "CLOSED", Kind.HANDOFF: "HANDOFF"}


class Picture:
    """One per node; see `Node.status`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kind_at = (-1, Kind.DATABASE)
        self._forks: tuple[str, int] = ("", 0)

    def last_kind(self) -> Kind:
        """What the last journaled request is; read from the journal once for each sequence out of office."""
        journal = self._node.journal
        last = journal.last.sequence
        if self._node.office is not None or last == 0:
            return Kind.DATABASE
        if self._kind_at[0] != last:
            try:
                encoded = next(journal.read(last), None)
            except Forgotten:
                encoded = None
            self._kind_at = (last, peek(encoded).kind if encoded is not None else Kind.DATABASE)
        return self._kind_at[1]

    def hello(self) -> Hello:
        """The whole picture, for a peer: what is durable, so that no crash takes a word back.

        `in_sync` is whose fsync the commit sequence needs at this moment: together with `commit` in the same frame it
        tells a standby from where on nothing is acknowledged without it.
        """
        node, memory = self._node, self._node.persisted
        in_office = memory.state in IN_OFFICE
        last, checksum = self._newest()
        return Hello(
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            cluster=node.cluster,
            node=node.node,
            name=node.settings.name,
            instance=node.instance,
            state=memory.state,
            epoch=memory.office if in_office else max(node.journal.last.epoch, memory.office),
            seen=max(memory.seen, memory.granted),
            last=last,
            commit=self._commit(),
            applied=self._applied(),
            checksum=checksum,
            seat=memory.standby if in_office else "",
            many=memory.many,
            closed=self.last_kind() is Kind.CLOSED,
            in_sync=sorted(node.rule.required if in_office else memory.in_sync),
            address=node.settings.address,
            version=node.settings.version,
            utc_us=node.utc_us(),
            proof_at_us=node.prover.last.at_us if node.prover.last is not None else 0,
            proof_is_whole=node.prover.last is None or node.prover.last.is_whole,
            proof_text=node.prover.last.text if node.prover.last is not None else "",
            schema=node.releases.schema if in_office else 0,
            schema_latest=node.releases.known.latest,
            schema_max=node.releases.known.highest,
        )

    def heartbeat(self) -> Heartbeat:
        """The short form, each second."""
        hello, backlog = self.hello(), self._backlog_in_office()
        return Heartbeat(
            state=hello.state,
            epoch=hello.epoch,
            seen=hello.seen,
            last=hello.last.sequence,
            last_bytes=backlog.bytes if backlog is not None else 0,
            commit=hello.commit,
            in_sync=hello.in_sync,
            utc_us=hello.utc_us,
        )

    def utc_us(self) -> int:
        """The wall clock of this node."""
        return self._node.utc_us()

    def status(self) -> Status:
        """One consistent look, for people and programs."""
        node, machine = self._node, self._node.machine
        backlog, age, proof = self._backlog()
        copy = node.following.copy if node.following is not None else None
        position, checksum = self._newest()
        return Status(
            cluster=node.cluster,
            node=node.node,
            name=node.settings.name,
            role=machine.role,
            state=machine.state,
            epoch=machine.memory.office if machine.state in IN_OFFICE else machine.journal_epoch,
            position=position,
            commit_sequence=self._commit(),
            applied_sequence=self._applied(),
            checksum=checksum,
            mode=node.settings.mode,
            in_sync=self._in_sync(),
            alone_since=machine.memory.alone_since_utc_us / 1e6 if machine.state is State.ALONE else None,
            master=machine.master() or None,
            backlog=backlog,
            backlog_age_s=age,
            backlog_proof=proof,
            peers=tuple(self._peer(peer) for peer in sorted(node.machine.peers)),
            waiting_for=self._waiting_for(),
            copy=copy.progress if copy is not None else None,
            forks=len(list_forks(node.disk)),
            standby_enrolled=bool(machine.memory.standby),
            seat=self._seat(),
            observer=machine.memory.observer and machine.role is Role.STANDBY,
            counted_name=machine.counted_name,
            proof=node.prover.last,
            slots=node.serving.slot_statuses(),
            journal_bytes=node.journal.kept_bytes(-1),
            schema=node.releases.schema if machine.state in IN_OFFICE else 0,
            schema_max=node.releases.known.highest,
            cannot_take_over=node.releases.why_not_here(),
        )

    def _seat(self) -> NodeId:
        """Who has the seat, by this office or by the last word of the master."""
        machine = self._node.machine
        if machine.state in IN_OFFICE or machine.memory.observer:
            return machine.memory.standby
        return self._node.node if machine.role is Role.STANDBY else machine.memory.standby

    def _is_observer(self, name: NodeId) -> bool:
        machine, seat = self._node.machine, self._seat()
        counted = name in (seat, machine.master()) or name in machine.memory.in_sync
        return bool(seat) and not counted and role_of(machine.peers[name].hello.state) is Role.STANDBY

    def _waiting_for(self) -> str:
        node = self._node
        copy = node.following.copy if node.following is not None else None
        if copy is not None and copy.waiting:
            return f"This standby has {copy.waiting}"
        if node.following is not None and node.following.problem:
            return f"This standby has {node.following.problem}"
        if release := node.releases.waiting_for():
            return release
        pending = node.machine.pending
        if pending.text and (pending.request or pending.by_itself or pending.raising):
            return pending.text
        stalled = node.office is not None and not node.office.ready
        if stalled and not all(map(node.machine.connected, node.machine.memory.in_sync)):
            return "Waiting for the standby. If it is gone, type: understudy go-alone"
        for slot in node.serving.slot_statuses():
            if slot.state is SlotState.STALLED and slot.node in node.machine.memory.in_sync:
                return f"{slot.text} Writes wait for it. To write without it, type: understudy go-alone"
        return node.machine.waiting_for()

    def _in_sync(self) -> bool:
        machine = self._node.machine
        if machine.state in IN_OFFICE:
            members = machine.memory.in_sync
            follow = all(node in self._node.serving.followers for node in members)
            return bool(members) and follow and not any(map(self._node.releases.why_not, members))
        could = machine.state is State.IN_SYNC and not self._node.releases.why_not_here()
        following = could and bool(machine.master())
        return following and self._node.following is not None and self._node.following.receiver is not None

    def _commit(self) -> int:
        node = self._node
        if node.office is not None and node.office.store is not None:
            return node.rule.sequence
        if node.machine.state in IN_OFFICE:
            return node.journal.last.sequence  # whoever takes office takes all of it for committed
        receiver = node.following.receiver if node.following is not None else None
        return max(node.journal.recorded_commit, receiver.commit if receiver is not None else 0)

    def _applied(self) -> int:
        node = self._node
        return node.journal.last.sequence if node.office is not None else node.applier.applied

    def _newest(self) -> tuple[Position, int]:
        """The last request and the checksum; in office of one moment, so that a standby is never said to differ."""
        store = self._node.office.store if self._node.office is not None else None
        return store.newest if store is not None else (self._node.journal.last, self._node.applier.checksum)

    def _backlog(self) -> tuple[Backlog | None, float | None, str]:
        """The number, its age in seconds, and what proves a 0 without a link (SKY-4)."""
        node, machine = self._node, self._node.machine
        now = threads.monotonic()
        if machine.state in IN_OFFICE:
            return self._backlog_in_office(), 0.0, ""
        proof = _PROOFS.get(self.last_kind(), "")
        master = machine.peers.get(machine.master())
        if master is None:
            return (Backlog(0, 0, 0.0), None, proof) if proof else (None, None, "")
        behind = max(master.hello.last.sequence - node.journal.synced, 0)
        return Backlog(behind, 0, 0.0), now - master.heard_at, proof

    def _backlog_in_office(self) -> Backlog | None:
        node = self._node
        office = node.office
        if office is None or not node.machine.memory.standby:
            return None
        peer = next(iter(node.machine.memory.in_sync), node.machine.memory.standby)
        meter = office.meters.get(peer)
        return meter.reading(threads.monotonic()) if meter is not None else None

    def _peer(self, name: NodeId) -> PeerStatus:
        node = self._node
        peer = node.machine.peers[name]
        hello = peer.hello
        follower = node.serving.followers.get(name)
        copy = node.serving.copies.get(name)
        told = copy.state if copy is not None else None
        meter = node.office.meters.get(name) if node.office is not None else None
        reading = meter.reading(threads.monotonic()) if meter is not None else None
        return PeerStatus(
            node=name,
            role=role_of(hello.state),
            state=hello.state,
            address=hello.address,
            connected=peer.connected,
            received=follower.ack.received if follower else hello.last.sequence,
            fsynced=follower.ack.fsynced if follower else hello.last.sequence,
            applied=follower.ack.applied if follower else hello.applied,
            checksum=follower.ack.checksum if follower else None,
            lag_requests=reading.requests if reading else None,
            lag_bytes=reading.bytes if reading else None,
            lag_seconds=reading.oldest_seconds if reading else None,
            last_seen_s=threads.monotonic() - peer.heard_at,
            clock_skew_s=peer.skew_s,
            disk_free_bytes=follower.ack.disk_free_bytes if follower else told.disk_free_bytes if told else None,
            copy=copy.progress if copy is not None else None,
            proof_at_us=hello.proof_at_us,
            proof_is_whole=hello.proof_is_whole,
            proof_text=hello.proof_text,
            version=hello.version,
            protocol=common_protocol(hello.protocol_max),
            schema_latest=hello.schema_latest,
            schema_max=hello.schema_max,
            cannot_take_over=node.releases.why_not(name),
            observer=self._is_observer(name),
        )
