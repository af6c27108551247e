import type { Duplex } from 'node:stream'
import type { PinnedPeer } from '../verify/verify.js'
import { putMethod, restoreMethods } from './own-methods.js'

/** Holds back everything written to a socket, and everything read from it, until a verified peer is shown. */
export interface Gate {
  /** Whether a write waits. */
  readonly holds: boolean
  /** Lets the held write through, and all later ones. Demands the proof that only `verify` can make. */
  open(peer: PinnedPeer): void
}

/**
 * Shuts the gate. A stream has at most one write under way, so at most one is held; the rest waits in the stream's own
 * buffer, with its usual back-pressure. The methods are replaced on the instance and restored when it opens. An end is not held: a stream ends after its writes, so nothing was written then, and nothing can be.
 *
 * What the peer sends meanwhile is not read from the stream: an answer that comes before the verdict is nobody's answer. One
 * chunk is kept, and Node is told to read no further.
 *
 * Unlike `cork()`, which `OutgoingMessage.end()` undoes, nothing but `open` ends this. A socket that closes first fails
 * the held write as Node's own sockets do when they close before they are connected.
 */
export function holdBytes(socket: Duplex): Gate {
  const early: Array<Parameters<Duplex['push']>> = []
  let release: (() => void) | undefined
  const hold = (run: () => void, callback: Callback): void => {
    const fail = (): void => callback(closedBefore())
    // Only now, as in Node: an http request listens already, and hears of the close before its write has failed.
    socket.once('close', fail)
    release = () => {
      socket.off('close', fail)
      run()
    }
  }

  const { _write, _writev } = Object.getPrototypeOf(socket) as Writes
  const own = socket as unknown as Writes
  putMethod(own, '_write', (chunk, encoding, callback) => hold(() => _write.call(socket, chunk, encoding, callback), callback))
  putMethod(own, '_writev', (chunks, callback) => hold(() => _writev.call(socket, chunks, callback), callback))
  const { push } = socket
  putMethod(socket, 'push', (...args) => {
    // The mere end of a connection says nothing that would have to wait.
    if (args[0] === null && early.length === 0) return push.apply(socket, args)
    early.push(args)
    return false
  })

  return {
    get holds() {
      return release !== undefined
    },
    open: () => {
      restoreMethods(own, '_write', '_writev')
      restoreMethods(socket, 'push')
      for (const args of early.splice(0)) socket.push(...args)
      release?.()
      release = undefined
    }
  }
}

type Callback = (error?: Error | null) => void

/** What `stream.Writable` calls; the first two have the shapes documented for implementers of streams. */
interface Writes {
  _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void
  _writev(chunks: ReadonlyArray<{ chunk: unknown; encoding: BufferEncoding }>, callback: Callback): void
}

function closedBefore(): Error {
  return Object.assign(new Error('Socket closed before the connection established'), { code: 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION' })
}
