# SPDX-License-Identifier: MIT
"""Runs the programs of the differential fuzz (whose language `fuzz` describes) on CPython's asyncio, in virtual time, and prints
what each of their statements saw. `interpret.cpp` does the same on weft.

    interpret_asyncio.py PROGRAMS

The rules are those of Python 3.14. Where weft differs on purpose (docs/asyncio.md, "The same words, other turns",
and the rows marked better), or an older Python differs from 3.14, the difference is stated here as a correction:
each one says which. Where a difference cannot be stated so, the trace ends with a line `cut`, and is compared up
to there.
"""
import asyncio
import collections
import heapq
import sys
from asyncio import tasks as asyncio_tasks

OBJECTS = 4
MOST_TASKS = 60
HORIZON = 1000
BLOCKS = {"try", "scope", "group", "lock", "sem", "cond", "soon", "later", "ondone", "onfut"}


# --- the loop -------------------------------------------------------------------------------------

class Loop(asyncio.AbstractEventLoop):
    """asyncio's loop without a kernel: time jumps when nothing is ready."""

    def __init__(self):
        self.ready = []
        self.left_of_turn = 0
        self.timers = []
        self.now = 0
        self.count = 0
        self.running = False

    def get_debug(self):
        return False

    def time(self):
        return self.now

    def is_running(self):
        return self.running

    def is_closed(self):
        return False

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coro, *, name=None, context=None):
        return Task(coro, loop=self)

    def call_exception_handler(self, context):
        pass

    def call_soon(self, callback, *args, context=None):
        if runs_at_once(callback, args):
            callback(*args)
            return asyncio.Handle(callback, args, self, context)
        handle = asyncio.Handle(callback, args, self, context)
        if getattr(callback, "__qualname__", "") == "Timeout._on_timeout":
            # Correction: a deadline in the past strikes in the next suspension, not a turn later.
            asyncio.current_task().ahead.append(handle)
            return handle
        self.ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.count += 1
        heapq.heappush(self.timers, (when, self.count, handle))
        return handle

    def _timer_handle_cancelled(self, handle):
        pass

    def run(self, task):
        asyncio.events._set_running_loop(self)
        self.running = True
        try:
            while not task.done():
                chain, self.ready = self.ready, []
                for index, handle in enumerate(chain):
                    self.left_of_turn = len(chain) - index - 1
                    if not handle._cancelled:
                        handle._run()
                while self.timers and self.timers[0][2]._cancelled:
                    heapq.heappop(self.timers)
                if not self.ready and self.timers:
                    self.now = max(self.now, self.timers[0][0])
                if self.timers and self.timers[0][0] <= self.now:
                    self.fire()
        finally:
            self.running = False
            asyncio.events._set_running_loop(None)

    # Correction: a sleep or a deadline acts one turn after it is due, not two; of what is due in one turn, callbacks
    # run first, and a deadline never acts before a callback that was due before it.
    def fire(self):
        old, self.ready = self.ready, []
        callbacks = []
        while self.timers and self.timers[0][0] <= self.now:
            handle = self.timers[0][2]
            kind = kind_of_timer(handle)
            if kind == "strike" and callbacks and not handle._cancelled:
                callbacks.append(asyncio.Handle(self.fire_late, (self.count,), self, None))
                break
            heapq.heappop(self.timers)
            if handle._cancelled:
                continue
            if kind == "callback":
                callbacks.append(handle)
            elif kind == "sleep":
                handle._args[0].due = True
                self.ready.append(handle)
            else:
                handle._run()
        self.ready = old + callbacks + self.ready

    def fire_late(self, last):
        while self.timers and self.timers[0][0] <= self.now and self.timers[0][1] <= last:
            handle = heapq.heappop(self.timers)[2]
            if handle._cancelled:
                continue
            if kind_of_timer(handle) == "sleep":
                handle._args[0].due = True
                self.ready.append(handle)
            else:
                handle._run()


def kind_of_timer(handle):
    name = getattr(handle._callback, "__qualname__", "")
    if name == "Timeout._on_timeout":
        return "strike"
    if name == "Sleep.fire":
        return "sleep"
    if name in ("_release_waiter", "as_completed.<locals>._on_timeout", "_AsCompletedIterator._handle_timeout"):
        return "wake"
    return "callback"


# Correction: the last quiet end of a child wakes gather, wait, a group and a shield in the same turn.
def runs_at_once(callback, args):
    name = getattr(callback, "__qualname__", "")
    if name == "TaskGroup._on_task_done":
        return args[0].cancelled() or args[0].exception() is None
    if name == "shield.<locals>._inner_done_callback":
        return True
    if name == "Gathered.child_ended":
        return callback.__self__.is_quiet(args[0])
    if name in ("_wait.<locals>._on_completion", "wait.<locals>.note"):
        when = cells_of(callback)["return_when"]
        if when == asyncio.ALL_COMPLETED:
            return True
        if when == asyncio.FIRST_COMPLETED:
            return False
        return args[0].cancelled() or args[0].exception() is None
    return False


def cells_of(function):
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            pass
    return found


class Steps(collections.abc.Coroutine):
    """A task's coroutine, and what is corrected around each of its steps."""

    def __init__(self, coro):
        self.coro = coro
        self.task = None

    def send(self, value):
        return self.step(self.coro.send, value)

    def throw(self, *error):
        return self.step(self.coro.throw, *error)

    def step(self, resume, *what):
        task = self.task
        if task.held:
            task.held = False
            task._must_cancel = True
        try:
            awaited = resume(*what)
        except BaseException:
            # Correction (19): a body that returns has completed, whatever was asked meanwhile.
            task._must_cancel = False
            raise
        ahead, task.ahead = task.ahead, []
        for handle in ahead:
            if not handle._cancelled:
                handle._callback()
        task.struck = task._must_cancel
        deadlines, task.deadlines = task.deadlines, []
        for each in reversed(deadlines):
            each.suspended()
        return awaited

    def close(self):
        self.coro.close()

    def __await__(self):
        raise NotImplementedError


class Task(asyncio_tasks._PyTask):
    def __init__(self, coro, **options):
        self.held = False  # a cancel that strikes at the next suspension
        self.known_difference = False
        self.struck = False  # by a cancel that was pending when it suspended
        self.was_struck = False  # the same, for who goes on after that suspension
        self.deadlines = []  # that are not set yet
        self.ahead = []  # deadlines that strike in the next one
        self.passed_on_to = None  # what we await, and have cancelled
        steps = Steps(coro)
        super().__init__(steps, **options)
        steps.task = self

    def cancel(self, msg=None):
        if self._fut_waiter is not None and not self._fut_waiter.done():
            self.passed_on_to = self._fut_waiter
        if msg is None and self._must_cancel:
            msg = self._cancel_message
        asked = super().cancel(msg or None)
        if asked:
            self._cancel_message = msg
        return asked

    def _Task__step(self, exc=None):
        self.was_struck, self.struck = self.struck, False
        super()._Task__step(exc)
        if self.struck and self._fut_waiter is not None and not self._fut_waiter.done():
            self.passed_on_to = self._fut_waiter

    def _Task__wakeup(self, future):
        ended = future.cancelled() or not isinstance(future, Sleep) and isinstance(
            future.exception(), asyncio.CancelledError)
        if type(future).__name__ == "_GatheringFuture" and self._must_cancel:
            ended = False  # Correction: a gather that had failed before the cancel throws that error.
        if self.passed_on_to is future and not ended:
            # Correction: who swallows a cancel that came from its awaiter does not end the awaiter's request.
            self._must_cancel = False
            self.held = True
        elif self._must_cancel and not isinstance(future, Sleep) and not ended:
            # Correction (28): a result that came before the cancel is delivered, and the cancel strikes at the next
            # suspension. (A sleep and a yield have no result.)
            self._must_cancel = False
            self.held = True
        self.passed_on_to = None
        if self._must_cancel and not isinstance(future, Task):
            # Correction: of two cancels before a task runs, the message of the later one is seen.
            self._Task__step()
        else:
            super()._Task__wakeup(future)

    # Correction: the message is there however often the result is asked for.
    def _make_cancelled_error(self):
        error = super()._make_cancelled_error()
        if self.cancelled() and error.args:
            self._cancel_message = error.args[0]
        return error

    def uncancel(self):
        if any(not handle._cancelled for handle in self.ahead):
            self.known_difference = True  # weft takes back the request of a deadline in the past
        count = super().uncancel()
        if count == 0:  # 3.13
            self._must_cancel = self.held = False
            self.passed_on_to = None
        return count


class Sleep:
    """A sleep that is awaited through one turn of the loop."""
    _asyncio_future_blocking = False

    def __init__(self, loop, delay):
        self._loop = loop
        self.due = False
        self.message = None
        self.was_cancelled = False
        self.wake = None
        self.handle = loop.call_later(delay, self.fire, self) if delay > 0 else None

    def get_loop(self):
        return self._loop

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self
        self.result()

    def add_done_callback(self, wake, *, context=None):
        self.wake = wake
        if not self.handle:
            self.due = True
            self._loop.call_soon(self.fire, self)

    def fire(self, _):
        self.wake(self)

    def done(self):
        return self.due

    def cancelled(self):
        return self.was_cancelled

    def cancel(self, msg=None):
        if self.due:
            return False
        self.due = self.was_cancelled = True
        self.message = msg
        if self.handle:
            self.handle.cancel()
        self._loop.call_soon(self.fire, self)
        return True

    def result(self):
        if self.was_cancelled:
            raise asyncio.CancelledError(*([] if self.message is None else [self.message]))


class Lock(asyncio.Lock):
    """Correction (63): a lock that is handed to a waiter stays locked."""

    def locked(self):
        return self._locked or any(not each.cancelled() for each in self._waiters or ())

    def release(self):
        first = next(iter(self._waiters or ()), None)
        if not self._locked and self.locked() or first is not None and first.cancelled():
            # Known: it is the one it was handed to who would lose it; one who was cancelled is passed over at once.
            asyncio.get_running_loop().world.cut = True
        super().release()


class Queue(asyncio.Queue):
    """Known (73): who waits is handed its item or its place, so a newcomer finds another queue than in asyncio."""

    def __init__(self, most):
        super().__init__(most)
        self.woken = []

    def _wakeup_next(self, waiters):
        first = next((each for each in waiters if not each.done()), None)
        if first is not None:
            self.woken.append((first._callbacks[0][0].__self__, first))
        super()._wakeup_next(waiters)

    def is_between(self):
        self.woken = [(task, waiter) for task, waiter in self.woken if task._fut_waiter is waiter]
        return bool(self.woken)


class Ordered(dict):
    """A set that remembers the order, so that a group cancels its children in the order of their creation."""

    def add(self, item):
        self[item] = None

    def discard(self, item):
        self.pop(item, None)


class Join(asyncio.Future):
    """Until no child of a group is left. Correction: a cancel goes to the children at once, not a turn later."""

    def __init__(self, group):
        super().__init__(loop=group._loop)
        self.group = group

    def cancel(self, msg=None):
        if self.done():
            return False
        self.group.join_cancelled = True
        if not self.group._aborting:
            # Correction: the last child sees the message.
            self.group._abort(msg)
        return True


def will_run(future):
    """Is it a task that goes on without anything more, or one whose cancel would get to such a task?"""
    if future is None or future.done():
        return True
    if isinstance(future, asyncio.Task):
        return will_run(future._fut_waiter)
    return any(will_run(child) for child in getattr(future, "_children", ()))


class TaskGroup(asyncio.TaskGroup):
    """With 3.14's end of a group, which 3.11 and 3.12 lack."""

    def __init__(self):
        super().__init__()
        self._tasks = Ordered()
        self.join_cancelled = False

    async def __aenter__(self):
        await super().__aenter__()
        self.before = self._parent_task.cancelling() - self._parent_task._must_cancel
        return self

    def _abort(self, message=None):
        self._aborting = True
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            if not task.done():
                task.cancel(message if task is left[-1] else "")

    async def __aexit__(self, kind, error, trace):
        self._exiting = True
        loop = asyncio.get_running_loop()
        if (error is not None or self._aborting) and (
                any(will_run(task) for task in self._tasks) or self._tasks and (loop.ready or loop.left_of_turn)):
            # Known (95): when a body ends by force its children see their cancel, whatever they have got, or what is
            # queued would give them.
            loop.world.cut = True
        parent = self._parent_task
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        if error is not None and not self._aborting:
            self._abort()
        while self._tasks:
            self._on_completed_fut = Join(self)
            await self._on_completed_fut
            self._on_completed_fut = None
        if self._parent_cancel_requested:
            parent.uncancel()
        others = parent.cancelling() > self.before
        if self._parent_cancel_requested and not others:
            parent._must_cancel = False
            cancelled = None
        errors = self._errors
        # Correction: a failure that the body awaited is listed once.
        if error is not None and not isinstance(error, asyncio.CancelledError):
            if not any(error is each for each in errors):
                errors.append(error)
        if errors:
            if others:
                parent._must_cancel = True  # strikes at the next suspension
            raise BaseExceptionGroup("unhandled errors", errors) from None
        if parent._must_cancel and others and (cancelled or self.join_cancelled):
            parent._must_cancel = False
            raise parent._make_cancelled_error()
        if cancelled is not None:
            raise cancelled


class Gathered:
    """gather's callback, one for each child, held back as long as a correction asks."""

    def __init__(self, outer, children, return_exceptions):
        self.outer, self.left, self.return_exceptions = outer, len(children), return_exceptions
        self.ended = []
        for child in children:
            self.own = next(each for each, _ in child._callbacks if each.__qualname__.startswith("gather.")
                            and cells_of(each).get("outer") is outer)
            child.remove_done_callback(self.own)
            child.add_done_callback(self.child_ended)

    def is_quiet(self, child):
        if self.return_exceptions:
            return True
        return self.outer._cancel_requested if child.cancelled() else child.exception() is None

    def child_ended(self, child):
        self.left -= 1
        if not self.outer._cancel_requested:
            return self.own(child)
        # Corrections: a gather that was cancelled waits for all of its children, an error goes before a cancel, and
        # if none was cancelled there are results, and the cancel strikes at the next suspension.
        self.ended.append(child)
        if self.left > 0:
            return None
        if not any(each.cancelled() for each in self.ended):
            self.outer._cancel_requested = False
        for each in sorted(self.ended, key=lambda each: each.cancelled()):
            self.own(each)
        return None


async def gather(children, return_exceptions):
    """Correction: children that are done already are looked at at once."""
    failed = [each for each in children if each.done() and (each.cancelled() or each.exception())]
    if failed and not return_exceptions:
        failed[0].result()
    left = list(dict.fromkeys(each for each in children if not each.done()))
    results = []
    if left:
        outer = asyncio.gather(*left, return_exceptions=return_exceptions)
        Gathered(outer, left, return_exceptions)
        await outer
    for each in children:
        # Correction: the message of a child's cancel is there.
        try:
            results.append(each.result())
        except BaseException as error:
            results.append(error)
    return results


async def wait(children, limit, return_when):
    """The same."""
    left = [each for each in children if not each.done()]
    failed = [each for each in children if each.done() and not each.cancelled() and each.exception()]
    if not left or return_when == asyncio.FIRST_COMPLETED and len(left) < len(children) or \
            return_when == asyncio.FIRST_EXCEPTION and failed:
        return
    ended = []
    began = asyncio.get_running_loop().now
    def note(child):
        ended.append((child, return_when)[0])

    for each in left:
        each.add_done_callback(note)
    try:
        await asyncio.wait(left, timeout=limit, return_when=return_when)
    except asyncio.CancelledError:
        # Correction (28): it was fulfilled before the task that was cancelled could run.
        over = limit is not None and asyncio.get_running_loop().now >= began + limit
        if over or len(ended) == len(left) or ended and return_when == asyncio.FIRST_COMPLETED or return_when == asyncio.FIRST_EXCEPTION \
                and any(not each.cancelled() and each.exception() for each in ended):
            task = asyncio.current_task()
            task._must_cancel = task.cancelling() > 0
        else:
            raise
    finally:
        for each in left:
            each.remove_done_callback(note)


async def shield(future):
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError as struck:
        task = asyncio.current_task()
        if future.done() and not future.cancelled() and not task.was_struck:
            # Correction (28): it ended before the task that was cancelled could run.
            task._must_cancel = task.cancelling() > 0
        elif struck.args or not future.cancelled():
            raise
        # Correction: the message of the one that was shielded comes through.
    return future.result()


class Timeout(asyncio.Timeout):
    """Corrections: a cancel that is still to strike when the body begins is not turned into a timeout, and the timer is
    set when the body suspends for the first time."""
    waits = False

    async def __aenter__(self):
        await super().__aenter__()
        self._cancelling -= self._task._must_cancel
        return self

    def reschedule(self, when):
        first, self.waits = self._timeout_handler is None and not self.waits, False
        if first and when is not None and when > self._task._loop.now and when is self._when:
            self.waits = True
            self._task.deadlines.append(self)
        else:
            super().reschedule(when)

    def suspended(self):
        if self.waits and self._state.value == "active":
            super().reschedule(self._when)
        self.waits = False


def timeout(limit):
    return Timeout(None if limit < 0 else asyncio.get_running_loop().now + limit)


async def wait_for(future, limit):
    """3.12's; what is not done is struck in the suspension."""
    if limit <= 0 and future.done():
        return future.result()
    async with timeout(limit):
        return await future


# --- the program ----------------------------------------------------------------------------------

class Node:
    __slots__ = ("line", "op", "words", "numbers", "body", "handler", "last")

    def __init__(self, line, op, words):
        self.line, self.op, self.words = line, op, words
        self.numbers = [int(w) if w.lstrip("-").isdigit() else 0 for w in words]
        self.body, self.handler, self.last = [], [], []


def read_programs(text):
    """Pairs of a name and a dict of coroutines."""
    programs = []
    stack = []
    line = 0
    for text_line in text.splitlines():
        line += 1
        words = text_line.split()
        if not words:
            continue
        op, words = words[0], words[1:]
        if op == "program":
            programs.append((words[0], {}))
            line = 0
        elif op == "coro":
            block = programs[-1][1][int(words[0])] = []
            stack = [(None, block)]
        elif op == "end":
            stack.pop()
        elif op == "except":
            node = stack.pop()[0]
            stack.append((node, node.handler))
        elif op == "finally":
            node = stack.pop()[0]
            stack.append((node, node.last))
        else:
            node = Node(line, op, words)
            stack[-1][1].append(node)
            if op in BLOCKS:
                stack.append((node, node.body))
    return programs


class ProgramError(Exception):
    pass


class World:
    def __init__(self, coros, out, loop):
        self.coros, self.out, self.loop = coros, out, loop
        self.began = loop.now
        self.cut = False
        loop.world = self
        self.all, self.slots, self.handles = [], {}, {}
        self.futures = [loop.create_future() for _ in range(OBJECTS)]
        self.locks = [Lock() for _ in range(OBJECTS)]
        self.semaphores = [asyncio.BoundedSemaphore(i) for i in range(OBJECTS)]
        self.events = [asyncio.Event() for _ in range(OBJECTS)]
        self.owners = [None] * OBJECTS  # of the conditions' locks
        self.conditions = [asyncio.Condition(Lock()) for _ in range(OBJECTS)]
        self.left = set()  # barriers that somebody who was cancelled has left
        self.barriers = [asyncio.Barrier(i or 2) for i in range(OBJECTS)]
        self.queues = [Queue(i) for i in range(OBJECTS)]

    def log(self, who, line, what):
        if not self.cut:
            self.out.append(f"{self.loop.now - self.began} {who} {line} {what}")


class Frame:
    __slots__ = ("world", "who", "index", "group", "scope", "caught", "started")

    def __init__(self, world, who, index, group=None):
        self.world, self.who, self.index, self.group = world, who, index, group
        self.scope = self.caught = None
        self.started = 0


def describe(error):
    if isinstance(error, asyncio.CancelledError):
        return f"C:{error.args[0]}" if error.args and error.args[0] else "C"
    if isinstance(error, ProgramError):
        return f"E{error.args[0]}"
    if isinstance(error, BaseExceptionGroup):
        return "G[" + "".join(describe(each) + "," for each in error.exceptions) + "]"
    for kind, name in ((TimeoutError, "T"), (asyncio.InvalidStateError, "invalid"),
                       (asyncio.BrokenBarrierError, "broken"), (asyncio.QueueEmpty, "empty"),
                       (asyncio.QueueFull, "full"), (RuntimeError, "runtime"), (ValueError, "runtime")):
        if isinstance(error, kind):
            return name
    return f"?{error!r}"


def end_of(future):
    if not future.done():
        return "pending"
    try:
        return f"={future.result()}"
    except BaseException as error:
        return describe(error)


def younger(frame, slot):
    found = frame.world.slots.get(slot, -1)
    return frame.world.all[found] if found > frame.index else None


def all_younger(frame, slots):
    return [task for task in (younger(frame, slot) for slot in slots) if task is not None]


def spawn(frame, node):
    world = frame.world
    if len(world.all) >= MOST_TASKS:
        return "enough"
    index = len(world.all)
    frame.started += 1
    who = f"{frame.who}.{frame.started}"
    slot, coro = node.numbers
    if node.op == "gspawn":
        if frame.group is None:
            return "none"
        made = body(world, who, index, coro, frame.group)
        try:
            task = frame.group.create_task(made)
        except RuntimeError:
            made.close()
            # Correction: who is still to be struck by the group's cancel is struck here.
            current = asyncio.current_task()
            if frame.group._aborting and current and (current._must_cancel or current.held):
                current._must_cancel = current.held = False
                raise current._make_cancelled_error() from None
            raise
    else:
        task = world.loop.create_task(body(world, who, index, coro, None))
    world.slots[slot] = index
    world.all.append(task)
    return "ok"


def with_end(world, who, node):
    def callback(future):
        world.log(who, node.line, end_of(future))
        run_callback(world, who, node.body)
    return callback


def at_once(frame, node):
    """None when the statement waits."""
    world, op, numbers = frame.world, node.op, node.numbers
    if op in ("put", "get", "putn", "getn", "qsize", "join", "qdone") and world.queues[numbers[0]].is_between():
        world.cut = True
    if op in ("cond", "cwait", "notify"):
        condition = world.conditions[numbers[0]]
        task = asyncio.current_task()
        if is_between(condition) and (op == "cwait" or not condition._lock._locked):
            world.cut = True
        elif op != "cond" and condition.locked() and world.owners[numbers[0]] is not task:
            world.cut = True  # Known: who waits with somebody else's lock is served in another order.
        elif op == "cwait" and task._must_cancel:
            world.cut = True  # Known: a wait that a pending cancel ends does not give the lock away.
    if op in ("sem", "sacquire") and world.semaphores[numbers[0]]._value > 0 and world.semaphores[numbers[0]]._waiters:
        world.cut = True  # Known: a permit that nobody is owed is taken at once.
    if op in ("bwait", "breset", "babort"):
        barrier = world.barriers[numbers[0]]
        if barrier._state.value in ("draining", "resetting") or any(
                each.cancelled() for each in barrier._cond._waiters):
            # Known: who comes while it drains is let in in another order; who is cancelled has left at once; those who
            # were released keep their place.
            world.cut = True
    if op in ("spawn", "gspawn"):
        return spawn(frame, node)
    if op in ("cancel", "look", "ondone"):
        found = world.slots.get(numbers[0])
        if found is None:
            return "none"
        task = world.all[found]
        if op == "look":
            return end_of(task)
        if op == "cancel":
            return "true" if task.cancel(*node.words[1:2]) else "false"
        task.add_done_callback(with_end(world, f"{frame.who}/{node.line}", node))
    elif op in ("uncancel", "cancelling"):
        task = asyncio.current_task()
        if task is None:
            return "none"
        if op == "uncancel":
            said = str(task.uncancel())
            world.cut = world.cut or task.known_difference
            return said
        # Correction: a deadline that strikes in the next suspension counts already.
        return str(task.cancelling() + sum(not handle._cancelled for handle in task.ahead))
    elif op == "lookf":
        return end_of(world.futures[numbers[0]])
    elif op == "set":
        world.futures[numbers[0]].set_result(numbers[1])
    elif op == "fail":
        world.futures[numbers[0]].set_exception(ProgramError(numbers[1]))
    elif op == "cancelf":
        return "true" if world.futures[numbers[0]].cancel(*node.words[1:2]) else "false"
    elif op == "renew":
        world.futures[numbers[0]] = world.loop.create_future()
    elif op == "soon":
        world.loop.call_soon(run_callback, world, f"{frame.who}/{node.line}", node.body)
    elif op == "later":
        world.handles[numbers[0]] = world.loop.call_later(
            numbers[1], run_callback, world, f"{frame.who}/{node.line}", node.body)
    elif op == "unlater":
        if numbers[0] not in world.handles:
            return "none"
        world.handles[numbers[0]].cancel()
    elif op == "onfut":
        world.futures[numbers[0]].add_done_callback(with_end(world, f"{frame.who}/{node.line}", node))
    elif op == "resched":
        if frame.scope is None:
            return "none"
        frame.scope.reschedule(None if numbers[0] < 0 else world.loop.now + numbers[0])
    elif op == "release":
        world.locks[numbers[0]].release()
    elif op == "srelease":
        world.semaphores[numbers[0]].release()
    elif op == "eset":
        world.events[numbers[0]].set()
    elif op == "eclear":
        world.events[numbers[0]].clear()
    elif op == "notify":
        world.conditions[numbers[0]].notify(numbers[1])
    elif op == "putn":
        world.queues[numbers[0]].put_nowait(numbers[1])
    elif op == "getn":
        return f"={world.queues[numbers[0]].get_nowait()}"
    elif op == "qdone":
        world.queues[numbers[0]].task_done()
    elif op == "qsize":
        return str(world.queues[numbers[0]].qsize())
    elif op == "raise":
        raise ProgramError(numbers[0])
    elif op == "reraise":
        if frame.caught is not None:
            raise frame.caught
    else:
        return None
    return "ok"


def run_callback(world, who, block):
    frame = Frame(world, who, 0)
    for node in block:
        try:
            said = at_once(frame, node) or "waits"
        except BaseException as error:
            said = describe(error)
        world.log(who, node.line, said)


async def perform_try(frame, node):
    flow = error = None
    try:
        flow = await run_block(frame, node.body)
    except BaseException as raised:
        error = raised
    kind = node.words[0]
    if error is not None and (kind == "any" or (kind == "cancelled") == isinstance(error, asyncio.CancelledError)):
        outer, frame.caught = frame.caught, error
        error = None
        try:
            flow = await run_block(frame, node.handler)
        except BaseException as raised:
            error = raised
        frame.caught = outer
    if node.last:
        end = await run_block(frame, node.last)
        if end is not None:
            return end
    if error is not None:
        raise error
    return flow


async def perform_scope(frame, node):
    outer = frame.scope
    try:
        async with timeout(node.numbers[0]) as frame.scope:
            return await run_block(frame, node.body)
    finally:
        frame.scope = outer


async def perform_group(frame, node):
    outer = frame.group
    flow = None
    try:
        async with TaskGroup() as frame.group:
            flow = await run_block(frame, node.body)
    finally:
        frame.group = outer
    return flow


def is_between(condition):
    """Known: who was notified or cancelled has, or waits for, the lock, although the task has not run since."""
    return isinstance(condition, asyncio.Condition) and any(each.done() for each in condition._waiters)


async def perform_guarded(frame, node, guarded):
    await guarded.acquire()
    if node.op == "cond":
        frame.world.owners[node.numbers[0]] = asyncio.current_task()
    frame.world.log(frame.who, node.line, "in")
    try:
        return await run_block(frame, node.body)
    finally:
        if is_between(guarded):
            frame.world.cut = True
        try:
            guarded.release()
        except (RuntimeError, ValueError):
            pass  # Correction: what somebody else has released is reported, not thrown.


async def perform_await(frame, node):
    world, op, numbers = frame.world, node.op, node.numbers
    if op == "sleep":
        await Sleep(world.loop, numbers[0])
    elif op == "yield":
        await asyncio.sleep(0)
    elif op in ("await", "shield", "waitfor"):
        task = younger(frame, numbers[0])
        if task is None:
            return "none"
        if op == "await":
            value = await task
        elif op == "shield":
            value = await shield(task)
        else:
            value = await wait_for(task, numbers[1])
        return f"={value}"
    elif op in ("awaitf", "shieldf", "waitforf"):
        future = world.futures[numbers[0]]
        if op == "awaitf":
            value = await future
        elif op == "shieldf":
            value = await shield(future)
        else:
            value = await wait_for(future, numbers[1])
        return f"={value}"
    elif op == "acquire":
        await world.locks[numbers[0]].acquire()
    elif op == "sacquire":
        await world.semaphores[numbers[0]].acquire()
    elif op == "ewait":
        await world.events[numbers[0]].wait()
    elif op == "cwait":
        condition = world.conditions[numbers[0]]
        try:
            await condition.wait()
        finally:
            world.owners[numbers[0]] = asyncio.current_task()
            if is_between(condition):
                world.cut = True
    elif op == "bwait":
        barrier = world.barriers[numbers[0]]
        if barrier in world.left and barrier.n_waiting > 0:
            world.cut = True  # Known (69): asyncio gives a place twice after a cancel.
        try:
            return str(await barrier.wait())
        except asyncio.CancelledError:
            world.left.add(barrier)
            raise
    elif op == "breset":
        await world.barriers[numbers[0]].reset()
    elif op == "babort":
        await world.barriers[numbers[0]].abort()
    elif op == "put":
        await world.queues[numbers[0]].put(numbers[1])
    elif op == "get":
        return f"={await world.queues[numbers[0]].get()}"
    elif op == "join":
        await world.queues[numbers[0]].join()
    elif op == "call":
        value = await body(world, f"{frame.who}+{node.line}", frame.index, numbers[0], frame.group)
        return f"={value}"
    elif op == "wait":
        asked = all_younger(frame, numbers[2:])
        if not asked:
            return "none"
        when = {"first": asyncio.FIRST_COMPLETED, "error": asyncio.FIRST_EXCEPTION}.get(
            node.words[0], asyncio.ALL_COMPLETED)
        await wait(asked, None if numbers[1] < 0 else numbers[1], when)
        return "".join("d" if task.done() else "p" for task in asked)
    elif op == "ascompleted":
        asked = all_younger(frame, numbers[1:])
        if not asked:
            return "none"
        asked = list(dict.fromkeys(asked))
        left = [task for task in asked if not task.done()]
        began = world.loop.now
        # Correction: those that are done already come first, in their order, at once.
        for each in asked:
            if each not in left:
                world.log(frame.who, node.line, f"={each.result()}")
        for each in asyncio.as_completed(left, timeout=None if numbers[0] < 0 else numbers[0]) if left else []:
            try:
                value = await each
            except (asyncio.CancelledError, TimeoutError):
                # Known: what ended meanwhile is yielded first, and a deadline wins over a cancel of the same turn.
                over = numbers[0] >= 0 and world.loop.now >= began + numbers[0]
                world.cut = world.cut or over or any(task.done() for task in left)
                raise
            world.log(frame.who, node.line, f"={value}")
    elif op in ("gather", "gatherx"):
        asked = all_younger(frame, numbers)
        results = await gather(asked, op == "gatherx")
        return "=" + "".join(
            (describe(each) if isinstance(each, BaseException) else str(each)) + "," for each in results)
    else:
        raise SystemExit(f"not a statement: {op}")
    return "ok"


async def perform(frame, node):
    world, op = frame.world, node.op
    if op == "return":
        return node.numbers[0]
    if op == "try":
        return await perform_try(frame, node)
    if op == "scope":
        return await perform_scope(frame, node)
    if op == "group":
        return await perform_group(frame, node)
    if op == "lock":
        return await perform_guarded(frame, node, world.locks[node.numbers[0]])
    if op == "sem":
        return await perform_guarded(frame, node, world.semaphores[node.numbers[0]])
    if op == "cond":
        return await perform_guarded(frame, node, world.conditions[node.numbers[0]])
    said = await perform_await(frame, node)
    world.log(frame.who, node.line, said)
    return None


async def run_block(frame, block):
    world = frame.world
    for node in block:
        try:
            said = at_once(frame, node)
            if said is not None:
                world.log(frame.who, node.line, said)
                continue
            if node.op not in ("breset", "babort"):  # (in weft they do not wait)
                world.log(frame.who, node.line, node.op)
            flow = await perform(frame, node)
        except BaseException as error:
            world.log(frame.who, node.line, describe(error))
            raise
        if flow is not None:
            return flow
    return None


async def body(world, who, index, coro, group):
    frame = Frame(world, who, index, group)
    world.log(who, 0, "begins")
    flow = await run_block(frame, world.coros[coro])
    world.log(who, 0, "ends")
    return flow or 0


async def run_program(coros, out, loop):
    world = World(coros, out, loop)
    world.all.append(loop.create_task(body(world, "0", 0, 0, None)))
    quiet = 0
    for round in range(1, 101):
        await Sleep(loop, world.began + HORIZON * round - loop.now)
        left = [task for task in world.all if not task.done()]
        quiet = 0 if left else quiet + 1
        if quiet == 2:
            break
        for task in left:
            if not task.done():
                task.cancel("horizon")
    else:
        out.append("stuck")
    for index, task in enumerate(world.all):
        out.append(f"task {index} {end_of(task)}")
    if world.cut:
        out.append("cut")


def main():
    if sys.version_info < (3, 11):
        print("interpret_asyncio.py: Python 3.11 is needed, for task groups")
        return 77
    with open(sys.argv[1], encoding="utf-8") as file:
        programs = read_programs(file.read())
    for name, coros in programs:
        out = [f"program {name}"]
        loop = Loop()
        loop.run(loop.create_task(run_program(coros, out, loop)))
        print("\n".join(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
