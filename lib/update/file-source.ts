import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { resolve } from 'node:path'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { readPathWatchOptions, watchPath } from './path-watcher.js'
import type { PathWatchOptions } from './path-watcher.js'
import type { PinSetAnswer, PinSetRequest, PinSetSource } from './source.js'

export function fileSource(path: string, given: PathWatchOptions = {}): PinSetSource {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) throw new PolicyInvalidError('fileSource', `the path must be that of a file, not ${typeof path === 'string' ? JSON.stringify(path) : describeType(path)}`)
  const options = readPathWatchOptions(given, 'fileSource')
  const full = resolve(path)
  const subscriptions = new Set<() => void>()
  return {
    name: `file ${full}`,
    fetch: (request) => fetchFile(full, request),
    subscribe: (changed) => {
      const end = watchPath(full, changed, options)
      subscriptions.add(end)
      return () => {
        subscriptions.delete(end)
        end()
      }
    },
    close: () => {
      for (const end of subscriptions) end()
      subscriptions.clear()
    }
  }
}

async function fetchFile(path: string, { etag, maxBytes, signal }: PinSetRequest): Promise<PinSetAnswer> {
  for (let tries = 1; ; tries++) {
    signal.throwIfAborted()
    const text = await readText(path, maxBytes)
    if (text === undefined) {
      // Somebody is writing just now, in place. What is read half will not verify, but need not be tried either.
      if (tries === maxTries) throw new Error(`${path} is being written to all the time`)
      await new Promise((resume) => setTimeout(resume, 50))
      continue
    }
    const found = createHash('sha256').update(text).digest('base64url')
    return found === etag ? { text: undefined, etag } : { text, etag: found }
  }
}

const maxTries = 10

/** @returns `undefined` when it was changed while it was read */
async function readText(path: string, maxBytes: number): Promise<string | undefined> {
  // Without O_NONBLOCK, opening a named pipe waits for somebody to write to it.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    const before = await handle.stat({ bigint: true })
    if (!before.isFile()) throw new Error(`${path} is not a file`)
    if (before.size === 0n) throw new Error(`${path} is empty`)
    if (before.size > BigInt(maxBytes)) throw new Error(`${path} has ${before.size} bytes; a set has at most ${maxBytes}`)
    const content = Buffer.alloc(Number(before.size))
    let length = 0
    for (let bytesRead = -1; length < content.length && bytesRead !== 0; length += bytesRead) ({ bytesRead } = await handle.read(content, length, content.length - length, length))
    const after = await handle.stat({ bigint: true })
    const unchanged = length === content.length && after.size === before.size && after.mtimeNs === before.mtimeNs
    return unchanged ? content.toString('utf8') : undefined
  } finally {
    await handle.close()
  }
}
