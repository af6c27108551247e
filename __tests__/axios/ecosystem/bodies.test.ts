import NodeFormData from 'form-data'
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as zlib from 'node:zlib'
import { since } from '../../support/axios-version.js'
import { outcomeOf, sideBySide } from '../../support/side-by-side.js'

// Forms, streams, progress, limits and compressed bodies, on a pinned instance as on one without pins.

const text = 'pinned and unpinned alike '.repeat(4_000)
const encoders: Record<string, (body: string) => Buffer> = {
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync,
  'deflate-raw': zlib.deflateRawSync,
  br: zlib.brotliCompressSync,
  // From Node 22.15; an axios or a Node without it hands the bytes over as they are.
  ...('zstdCompressSync' in zlib && { zstd: (zlib as unknown as { zstdCompressSync: (body: string) => Buffer }).zstdCompressSync })
}

const firstAxios: Record<string, string> = { 'deflate-raw': '1.3', zstd: '1.19' }

const { alike, alikeInTime, pinned, plain } = sideBySide((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'https://localhost')
  const route = routes[pathname]
  if (route) return route(request, response, searchParams)
  const hash = createHash('sha256')
  let length = 0
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    length += chunk.length
  })
  request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ length, digest: request.headers['content-type']?.includes('boundary') ? '' : hash.digest('hex') })))
})

const routes: Record<string, (request: IncomingMessage, response: ServerResponse, query: URLSearchParams) => void> = {
  '/encoded': (request, response, query) => {
    request.resume()
    const name = query.get('as') as string
    const body = (encoders[name] as (typeof encoders)[string])(text)
    if (query.has('broken')) body.fill(7, 20)
    response.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': name.replace('-raw', ''), 'content-length': body.length }).end(request.method === 'HEAD' ? undefined : body)
  },
  '/big': (request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': 400_000 })
    Readable.from(Array.from({ length: 40 }, (_, i) => Buffer.alloc(10_000, i))).pipe(response)
  },
  '/cut': (request, response) => {
    request.resume()
    response.writeHead(200, { 'content-length': 100_000 })
    response.write(Buffer.alloc(50_000), () => request.socket.destroy())
  },
  '/echo': (request, response) => void request.pipe(response.writeHead(200, { 'content-type': 'application/octet-stream' })),
  '/redirected': (request, response) => {
    request.resume()
    request.on('end', () => response.writeHead(307, { location: '/' }).end())
  }
}

let folder: string
let file: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-'))
  file = join(folder, 'upload.bin')
  writeFileSync(file, Buffer.alloc(150_000, 9))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('forms', () => {
  const fields = { name: 'Ada', tags: ['a', 'b'], nested: { deep: true }, file: Buffer.from('hello') }

  alike('postForm with buffers, lists and nested objects', async (api) => await outcomeOf(api.postForm('/', fields)), since('1.3', { status: 200 }))
  alike('putForm and patchForm', async (api) => [await outcomeOf(api.putForm('/', fields)), await outcomeOf(api.patchForm('/', fields))])
  alike('the form-data package, with a file as a stream', async (api) => {
    const form = new NodeFormData()
    form.append('title', 'a file')
    form.append('file', createReadStream(file), { filename: 'upload.bin', contentType: 'application/octet-stream' })
    return await outcomeOf(api.post('/', form, { headers: form.getHeaders() }))
  }, { status: 200 })
  alike('the form-data package through a redirect that sends the body again', async (api) => {
    const form = new NodeFormData()
    form.append('file', Buffer.alloc(20_000, 3), { filename: 'b.bin' })
    return await outcomeOf(api.post('/redirected', form))
  }, { status: 200 })
  alike('the FormData of the platform, with a Blob', async (api) => {
    const form = new FormData()
    form.append('title', 'a blob')
    form.append('file', new Blob([Buffer.alloc(30_000, 5)], { type: 'image/png' }), 'a.png')
    return await outcomeOf(api.post('/', form))
  })
  alike('multipart/form-data from an object, by its content type', async (api) => await outcomeOf(api.post('/', fields, { headers: { 'Content-Type': 'multipart/form-data' } })), since('1.3', { status: 200 }))
  alike('URLSearchParams, and an object as x-www-form-urlencoded', async (api) => [
    await outcomeOf(api.post('/', new URLSearchParams({ a: '1', b: 'ä' }))),
    await outcomeOf(api.post('/', { a: 1, b: ['x', 'y'] }, { headers: { 'content-type': 'application/x-www-form-urlencoded' } }))
  ])
  alike('JSON, text, buffers, typed arrays and nothing', async (api) => {
    const outcomes: unknown[] = []
    for (const body of [{ a: [1, null, 'ü'] }, 'plain', Buffer.from('buffer'), new Uint8Array([1, 2, 3]), new ArrayBuffer(4), undefined, null, false, '']) outcomes.push(await outcomeOf(api.post('/', body)))
    return outcomes
  })
})

describe('streams', () => {
  const read = async (stream: Readable): Promise<{ length: number; digest: string }> => {
    const hash = createHash('sha256')
    let length = 0
    for await (const chunk of stream) {
      hash.update(chunk as Buffer)
      length += (chunk as Buffer).length
    }
    return { length, digest: hash.digest('hex') }
  }

  alike('a file up, in chunks of unknown number', async (api) => await outcomeOf(api.post('/', createReadStream(file))), { data: { length: 150_000 } })
  alike('a file up, with its length', async (api) => await outcomeOf(api.put('/', createReadStream(file), { headers: { 'content-length': '150000' } })), { data: { length: 150_000 } })
  alike('down, in pieces', async (api) => {
    const { data, status } = await api.get<Readable>('/big', { responseType: 'stream' })
    return [status, await read(data)]
  })
  alike('both ways at once', async (api) => {
    const body = Readable.from(Array.from({ length: 30 }, (_, i) => Buffer.alloc(5_000, i)))
    const { data } = await api.post<Readable>('/echo', body, { responseType: 'stream', maxRedirects: 0 })
    const sink = new PassThrough()
    const [, seen] = await Promise.all([pipeline(data, sink), read(sink)])
    return seen
  }, { length: 150_000 })
  alikeInTime('an upload whose source fails', async (api) => {
    const source = Readable.from((async function* () {
      yield Buffer.alloc(1_000)
      await new Promise((resolve) => setTimeout(resolve, 30))
      throw Object.assign(new Error('the disk is gone'), { code: 'EIO' })
    })())
    return await outcomeOf(api.post('/', source))
  }, { code: 'EIO' })
  alike('a download that is given up half-way frees its connection, and the next request works', async (api) => {
    const { data } = await api.get<Readable>('/big', { responseType: 'stream' })
    data.once('data', () => data.destroy())
    const ended = await new Promise((resolve) => data.once('close', () => resolve(data.destroyed)))
    return [ended, (await outcomeOf(api.post('/', 'next')))['status']]
  }, [true, 200])
  alike('an answer that breaks off, buffered and streamed', async (api) => {
    const { data } = await api.get<Readable>('/cut', { responseType: 'stream' })
    const streamed = await read(data).then(() => 'whole', (error: NodeJS.ErrnoException) => `${error.code} ${error.message}`)
    return [await outcomeOf(api.get('/cut')), streamed]
  }, [expect.objectContaining({ isAxiosError: true }), 'ECONNRESET aborted'])
})

describe('progress', () => {
  interface Seen {
    loaded: number
    total?: number | undefined
    upload?: boolean | undefined
    download?: boolean | undefined
  }
  // How many events there are depends on the clock; what they say in the end does not.
  const summary = (events: Seen[]): unknown => ({
    rising: events.every(({ loaded }, i) => loaded >= (events[i - 1]?.loaded ?? 0)),
    totals: [...new Set(events.map(({ total }) => total))],
    sides: [...new Set(events.map(({ upload, download }) => [upload, download].join()))],
    last: events.at(-1)?.loaded
  })
  const watched = async (send: (note: (event: Seen) => void) => Promise<unknown>): Promise<unknown> => {
    const events: Seen[] = []
    const outcome = await send((event) => void events.push(event))
    await new Promise((resolve) => setTimeout(resolve, 20))
    return [summary(events), outcome]
  }

  alike('of an upload', async (api) => await watched((onUploadProgress) => outcomeOf(api.post('/', Buffer.alloc(300_000, 1), { onUploadProgress }))))
  alike('of an upload from a stream', async (api) => await watched((onUploadProgress) => outcomeOf(api.post('/', createReadStream(file), { onUploadProgress }))))
  alike('of a download', async (api) => await watched(async (onDownloadProgress) => (await outcomeOf(api.get('/big', { onDownloadProgress, responseType: 'arraybuffer' })))['status']))
  alike('with a limited rate', async (api) => await watched(async (onDownloadProgress) => (await outcomeOf(api.get('/big', { onDownloadProgress, responseType: 'arraybuffer', maxRate: [2_000_000, 2_000_000] })))['status']))
})

describe('limits', () => {
  alike('maxContentLength, of an answer that says its length and of a stream', async (api) => [await outcomeOf(api.get('/big', { maxContentLength: 1_000 })), (await outcomeOf(api.get('/big', { maxContentLength: 400_000, responseType: 'arraybuffer' })))['status']], [expect.objectContaining({ code: 'ERR_BAD_RESPONSE', message: 'maxContentLength size of 1000 exceeded' }), 200])
  alike('maxContentLength, of an answer that unpacks to more', async (api) => await outcomeOf(api.get('/encoded?as=gzip', { maxContentLength: 10_000 })), { code: 'ERR_BAD_RESPONSE' })
  alike('maxBodyLength, of a buffer', async (api) => await outcomeOf(api.post('/', Buffer.alloc(5_000), { maxBodyLength: 1_000 })), { code: 'ERR_BAD_REQUEST' })
  // The server may or may not have seen its beginning; what it has seen is not compared.
  test('maxBodyLength, of a stream', async () => {
    const send = async (api: ReturnType<typeof plain>): Promise<unknown> => await outcomeOf(api.post('/', Readable.from([Buffer.alloc(3_000), Buffer.alloc(3_000)]), { maxBodyLength: 4_000 }))
    const [first, second] = [await send(plain()), await send(pinned())]
    expect(second).toEqual(first)
    expect(first).toMatchObject({ isAxiosError: true, status: undefined })
  })
})

describe('compressed answers', () => {
  for (const name of Object.keys(encoders)) {
    alike(name, async (api) => {
      const outcome = await outcomeOf(api.get(`/encoded?as=${name}`))
      return { ...outcome, whole: outcome['data'] === text }
    }, since(firstAxios[name] ?? '1.2', { status: 200, whole: true }))
    alike(`${name}, streamed`, async (api) => {
      const chunks: Buffer[] = []
      const { data } = await api.get<Readable>(`/encoded?as=${name}`, { responseType: 'stream' })
      const end = await pipeline(data, async (source: AsyncIterable<Buffer>) => { for await (const chunk of source) chunks.push(chunk) }).catch((error: NodeJS.ErrnoException) => error.code)
      return [end, createHash('sha256').update(Buffer.concat(chunks)).digest('hex')]
    })
    alike(`${name} that is broken`, async (api) => await outcomeOf(api.get(`/encoded?as=${name}&broken`)), since(firstAxios[name] ?? '1.2', { isAxiosError: true }))
  }
  alike('left as they are with decompress: false', async (api) => (await outcomeOf(api.get('/encoded?as=gzip', { decompress: false, responseType: 'arraybuffer' })))['data'], zlib.gzipSync(text))
  alike('of HEAD', async (api) => await outcomeOf(api.head('/encoded?as=gzip')), since('1.3', { status: 200 }))
})
