import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import * as https from 'node:https'
import type { Agent } from 'node:https'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'

export interface FetchOptions {
  readonly agent: Agent
  readonly signal: AbortSignal
  readonly headers: Readonly<Record<string, string>>
  /** Reading ends one byte after so many, decompressed. */
  readonly maxBytes: number
}

export interface Fetched {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Of a 200 only. */
  readonly text: string
}

/** One GET over a given agent: no redirects, no credentials, no cookies, and no more memory than `maxBytes`. It does not keep the process alive: that is for whom waits for it. */
export function fetchText(url: URL, { agent, signal, headers, maxBytes }: FetchOptions): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { agent, signal, headers: { ...headers, 'accept-encoding': 'gzip' } })
    request.once('socket', (socket) => socket.unref())
    request.once('error', reject)
    request.once('response', (response) => {
      // After the answer has begun, a break shows here only.
      response.once('error', reject)
      const status = response.statusCode ?? 0
      if (status !== 200) {
        response.destroy()
        resolve({ status, headers: response.headers, text: '' })
        return
      }
      readBounded(response, maxBytes).then((text) => resolve({ status, headers: response.headers, text }), reject)
    })
  })
}

async function readBounded(response: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of decompress(response) as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      length += chunk.length
      if (length > maxBytes) break
    }
  } finally {
    response.destroy()
  }
  return Buffer.concat(chunks).subarray(0, maxBytes + 1).toString('utf8')
}

function decompress(response: IncomingMessage): Readable {
  const encoding = response.headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return response
  if (encoding !== 'gzip' && encoding !== 'x-gzip') throw new Error(`the answer is encoded as ${JSON.stringify(encoding)}, and gzip was asked for`)
  const gunzip = createGunzip()
  response.on('error', (error) => gunzip.destroy(error))
  response.on('aborted', () => gunzip.destroy(new Error('the answer broke off')))
  return response.pipe(gunzip)
}
