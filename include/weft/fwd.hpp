// SPDX-License-Identifier: MIT
// Declarations alone, for headers that name weft's types and use none of them:
// `weft::Coro<int> lookup(weft::Stream&);` costs a hundredth of a second with this one.
#pragma once

// Whoever calls such a function includes the type's own header. Default arguments of templates
// stand here and nowhere else. What is thrown is not declared: to catch it takes the whole type.
// Singleflight is missing, since its default argument is std::hash.

namespace weft {

// base
class CText;
class ConstBuffer;
class ExceptionHandlerOption;
class Fd;
class KeyboardInterrupt;
class MutableBuffer;
enum class BackendKind : unsigned char;
struct FrameUpstream;
struct RunOptions;

// kernel
struct BackendInfo;

// runtime
class EventLoop;
class Handle;
class Remote;
class TimerHandle;
struct ExceptionContext;

// task
class AnyFuture;
class AnyTask;
class ContextToken;
class DoneHandle;
class Interval;
class Runner;
enum class MissedTicks : unsigned char;
struct TaskOptions;
template <class T>
class AsyncGenerator;
template <class T>
class ContextVar;
template <class T = void>
class Coro;
template <class T = void>
class Future;
template <class T>
class Task;

// sync
class Barrier;
class BoundedSemaphore;
class CapacityLimiter;
class Condition;
class Event;
class Latch;
class Lock;
class Notify;
class RwLock;
class Semaphore;
template <class T>
class OnceCell;

// queue
namespace detail {
struct Less;
}  // namespace detail
template <class T, class Store>
class BasicQueue;
template <class T>
class Broadcast;
template <class T>
class Channel;
template <class T>
class LifoQueue;
template <class T>
class Oneshot;
template <class T, class Compare = detail::Less>
class PriorityQueue;
template <class T>
class Queue;
template <class T>
class Received;
template <class T>
class Watch;

// signal
class SignalSet;
class SignalStream;

// thread
template <class T>
class ConcurrentFuture;
class StopToken;
template <class T>
class ThreadChannel;
class ThreadPool;
class Worker;
struct AbandonOnCancel;
struct ThreadPoolOptions;
struct WorkersOptions;

// net
class Address;
class Chunk;
class Datagram;
class ReadStream;
class Server;
class Socket;
class Stream;
class TlsContext;
class Transport;
class WriteStream;
enum class TlsFailure : unsigned char;
enum class TlsRoots : unsigned char;
enum class TlsVerify : unsigned char;
enum class TlsVersion : unsigned char;
struct AcceptedSocket;
struct ConnectOptions;
struct DatagramOptions;
struct ListenFd;
struct NameInfo;
struct ReceivedDatagram;
struct ServerOptions;
struct StreamHalves;
struct TlsInfo;
struct TlsOptions;
namespace io {
struct Accepted;
struct ReceivedDescriptors;
}  // namespace io

// fs
class AlignedBuffer;
class DirectoryEntry;
class File;
class FileEvent;
class FileInfo;
class FileWatch;
class OpenMode;
class TemporaryDirectory;
enum class FileLock : unsigned char;
enum class Seek : unsigned char;
struct AtomicWriteOptions;

// deadline
class CancelLink;
class CancelOnStop;
class CancelScope;
class CancelToken;
class StopOnCancel;
class Timeout;

// together
class TaskGroup;
enum class ReturnWhen : unsigned char;
struct Eager;
struct ReturnExceptions;
template <class Handle>
class AsCompleted;
template <class T>
class GroupTask;
template <class T>
class Settled;
template <class T = void>
class TaskStatus;
template <class Handle>
class WaitResult;
template <class T>
class Winner;

// streams
class Protocol;
class ProtocolConnection;
struct CopiedBytes;
struct Pipe;
struct Pty;
struct PtyOptions;
struct StreamPair;

// process
class Command;
class Environment;
class ExitStatus;
class Process;
class Stdio;
struct CompletedProcess;
struct ProcessOptions;
struct RunProcessOptions;
struct TerminalSize;

// adapters
class Alarm;
class FdWatch;
class Heartbeat;
enum class FdEvents : unsigned char;

// patterns
class RateLimiter;
class RetryCondition;
enum class OnFailure : unsigned char;
struct ParallelOptions;
struct RetryOptions;
struct WorkerPoolOptions;
template <class T>
class Pool;
template <class T>
class PoolLease;
template <class T>
struct PoolOptions;
template <class Job>
class WorkerPool;

// http
namespace http {
class Body;
class BodyReader;
class BodyWriter;
class Client;
class ClientResponse;
class EventWriter;
class Headers;
class Next;
class Request;
class Response;
class Router;
class Server;
class StaticFiles;
class Url;
class WebSocket;
class WebSocketWriter;
struct AcceptWebSocketOptions;
struct ClientOptions;
struct ClientRequest;
struct ConnectWebSocketOptions;
struct FileOptions;
struct ServerOptions;
struct StaticOptions;
struct WebSocketFragment;
struct WebSocketMessage;
struct WebSocketOptions;
}  // namespace http

}  // namespace weft
