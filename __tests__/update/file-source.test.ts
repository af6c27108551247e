import { execFileSync } from 'node:child_process'
import { appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync, writeSync } from 'node:fs'
import { Agent } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PolicyInvalidError } from '../../lib/errors.js'
import { fileSource } from '../../lib/update/file-source.js'
import type { PathWatchOptions } from '../../lib/update/path-watcher.js'
import type { PinSetAnswer, PinSetSource } from '../../lib/update/source.js'

let folder: string
let source: PinSetSource | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-source-'))
})
afterEach(async () => {
  await source?.close?.()
  rmSync(folder, { recursive: true, force: true })
})

const agent = new Agent()

function fetchFrom(from: PinSetSource, etag?: string, maxBytes = 1_000): Promise<PinSetAnswer> {
  return from.fetch({ signal: AbortSignal.timeout(10_000), etag, maxBytes, agent })
}

// A watcher that polls once an hour: what is noticed here, the operating system told.
const eventsOnly: PathWatchOptions = { pollMs: 3_600_000 }

/** Follows a file as the updater does, and notes each text with the time it came. */
function follow(path: string, options: PathWatchOptions = eventsOnly) {
  const own = (source = fileSource(path, options))
  const seen: Array<{ text: string; at: number }> = []
  let running = Promise.resolve()
  let etag: string | undefined
  const end = own.subscribe?.(() => {
    running = running.then(async () => {
      const answer = await fetchFrom(own, etag).catch(() => undefined)
      if (answer?.text !== undefined) seen.push({ text: answer.text, at: performance.now() })
      if (answer) etag = answer.etag
    })
  })
  return {
    seen,
    end: end as () => void,
    /** Waits until a text is seen. @returns after how many ms */
    async see(text: string, since = performance.now()): Promise<number> {
      for (;;) {
        const found = seen.find((each) => each.text === text)
        if (found) return found.at - since
        if (performance.now() - since > 20_000) throw new Error(`never seen: ${text}; but ${JSON.stringify(seen)}`)
        await new Promise((resume) => setTimeout(resume, 5))
      }
    }
  }
}

// Noticed within a second is the promise (file-source.slow.ts measures it); the machine that runs this may be busy, and an
// hour would be too long in any case.
const soonMs = 8_000

/** What the kubelet does: a new timestamped folder, and one rename of the link that the files' own links lead through. */
function publish(text: string, number: number): void {
  mkdirSync(join(folder, `..2026_${number}`))
  writeFileSync(join(folder, `..2026_${number}`, 'pins.jws'), text)
  symlinkSync(`..2026_${number}`, join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  if (number > 1) rmSync(join(folder, `..2026_${number - 1}`), { recursive: true })
}

test('a Kubernetes ConfigMap: each swap of its ..data link is noticed within a second', async () => {
  publish('one', 1)
  symlinkSync('..data/pins.jws', join(folder, 'pins.jws'))
  const followed = follow(join(folder, 'pins.jws'))
  await followed.see('one')
  for (let number = 2; number <= 6; number++) {
    const since = performance.now()
    publish(`set ${number}`, number)
    expect(await followed.see(`set ${number}`, since)).toBeLessThan(soonMs)
  }
  expect(followed.seen.map(({ text }) => text)).toEqual(['one', 'set 2', 'set 3', 'set 4', 'set 5', 'set 6'])
})

test('a ConfigMap through a link of our own, and through one that is swapped on the way', async () => {
  const outside = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-source-'))
  try {
    publish('one', 1)
    symlinkSync('..data/pins.jws', join(folder, 'pins.jws'))
    symlinkSync(join(folder, 'pins.jws'), join(outside, 'link.jws'))
    const followed = follow(join(outside, 'link.jws'))
    await followed.see('one')
    publish('two', 2)
    expect(await followed.see('two')).toBeLessThan(soonMs)
    mkdirSync(join(outside, 'other'))
    writeFileSync(join(outside, 'other', 'pins.jws'), 'three')
    symlinkSync('other/pins.jws', join(outside, 'link.tmp'))
    renameSync(join(outside, 'link.tmp'), join(outside, 'link.jws'))
    expect(await followed.see('three')).toBeLessThan(soonMs)
    // Whose folder is followed now.
    writeFileSync(join(outside, 'other', 'pins.jws'), 'four')
    expect(await followed.see('four')).toBeLessThan(soonMs)
  } finally {
    rmSync(outside, { recursive: true, force: true })
  }
})

test('overwritten in place, replaced by a rename, removed and made again', async () => {
  const path = join(folder, 'pins.jws')
  writeFileSync(path, 'one')
  const followed = follow(path)
  await followed.see('one')
  writeFileSync(path, 'two')
  expect(await followed.see('two')).toBeLessThan(soonMs)
  writeFileSync(join(folder, 'new'), 'six')
  renameSync(join(folder, 'new'), path)
  expect(await followed.see('six')).toBeLessThan(soonMs)
  unlinkSync(path)
  await new Promise((resume) => setTimeout(resume, 400))
  writeFileSync(path, 'ten')
  expect(await followed.see('ten')).toBeLessThan(soonMs)
})

test('its folder is deleted, is missing for a while, and comes back; then again as another one', async () => {
  const path = join(folder, 'etc', 'pins', 'pins.jws')
  mkdirSync(join(folder, 'etc', 'pins'), { recursive: true })
  writeFileSync(path, 'one')
  const followed = follow(path)
  await followed.see('one')
  rmSync(join(folder, 'etc'), { recursive: true })
  await new Promise((resume) => setTimeout(resume, 600))
  await expect(fetchFrom(source as PinSetSource)).rejects.toThrow(/ENOENT/)
  mkdirSync(join(folder, 'etc', 'pins'), { recursive: true })
  writeFileSync(path, 'two')
  expect(await followed.see('two')).toBeLessThan(soonMs)
  mkdirSync(join(folder, 'etc', 'next'))
  writeFileSync(join(folder, 'etc', 'next', 'pins.jws'), 'three')
  renameSync(join(folder, 'etc', 'pins'), join(folder, 'etc', 'last'))
  renameSync(join(folder, 'etc', 'next'), join(folder, 'etc', 'pins'))
  expect(await followed.see('three')).toBeLessThan(soonMs)
  writeFileSync(path, 'four')
  expect(await followed.see('four')).toBeLessThan(soonMs)
})

test('a file that is not there when it begins', async () => {
  const path = join(folder, 'later', 'pins.jws')
  const followed = follow(path)
  await new Promise((resume) => setTimeout(resume, 100))
  mkdirSync(join(folder, 'later'))
  writeFileSync(path, 'one')
  expect(await followed.see('one')).toBeLessThan(soonMs)
})

test('where no events come, the file is looked at all the same', async () => {
  const path = join(folder, 'pins.jws')
  writeFileSync(path, 'one')
  // Not called back for a while: neither polling nor events of a file system that has none.
  const watch = jest.spyOn(jest.requireActual<typeof import('node:fs')>('node:fs'), 'watch').mockImplementation(() => {
    throw Object.assign(new Error('ENOSPC: System limit for number of file watchers reached'), { code: 'ENOSPC' })
  })
  try {
    const followed = follow(path)
    await followed.see('one')
    writeFileSync(path, 'two')
    expect(await followed.see('two')).toBeLessThan(soonMs)
    expect(watch).toHaveBeenCalled()
  } finally {
    watch.mockRestore()
  }
})

test('a slow writer is waited for; a set is read whole or not at all', async () => {
  const path = join(folder, 'pins.jws')
  const [old, next] = ['o'.repeat(900), 'n'.repeat(900)]
  writeFileSync(path, old)
  const followed = follow(path)
  await followed.see(old)
  const file = openSync(path, 'r+')
  for (let offset = 0; offset < 900; offset += 100) {
    writeSync(file, next.slice(offset, offset + 100), offset)
    await new Promise((resume) => setTimeout(resume, 10))
  }
  closeSync(file)
  await followed.see(next)
  expect(followed.seen.map(({ text }) => text)).toEqual([old, next])
})

test('after close() and after the end of the subscription nothing is heard any more', async () => {
  const path = join(folder, 'pins.jws')
  writeFileSync(path, 'one')
  source = fileSource(path)
  let calls = 0
  const end = source.subscribe?.(() => calls++)
  let others = 0
  source.subscribe?.(() => others++)
  await new Promise((resume) => setTimeout(resume, 200))
  end?.()
  const before = calls
  writeFileSync(path, 'two')
  await new Promise((resume) => setTimeout(resume, 400))
  expect([calls, others > before]).toEqual([before, true])
  await source.close?.()
  const closed = others
  writeFileSync(path, 'three')
  await new Promise((resume) => setTimeout(resume, 400))
  expect(others).toBe(closed)
})

test('other files of the folder are none of its business', async () => {
  const path = join(folder, 'pins.jws')
  writeFileSync(path, 'one')
  source = fileSource(path)
  let calls = 0
  source.subscribe?.(() => calls++)
  await new Promise((resume) => setTimeout(resume, 600))
  const before = calls
  for (let round = 0; round < 20; round++) appendFileSync(join(folder, 'app.log'), 'line\n')
  await new Promise((resume) => setTimeout(resume, 300))
  expect(calls).toBe(before)
})

describe('reading', () => {
  test('the same content is not handed over twice', async () => {
    const path = join(folder, 'pins.jws')
    writeFileSync(path, 'one')
    source = fileSource(path)
    const first = await fetchFrom(source)
    expect(first.text).toBe('one')
    expect(await fetchFrom(source, first.etag)).toEqual({ text: undefined, etag: first.etag })
    writeFileSync(path, 'two')
    expect((await fetchFrom(source, first.etag)).text).toBe('two')
  })

  test.each<[string, (path: string) => void, RegExp]>([
    ['a missing file', () => undefined, /ENOENT/],
    ['an empty file', (path) => writeFileSync(path, ''), /is empty/],
    ['a folder', (path) => mkdirSync(path), /is not a file|EISDIR/],
    ['a named pipe, without waiting for a writer', (path) => execFileSync('mkfifo', [path]), /is not a file/],
    ['a device without end', (path) => symlinkSync('/dev/zero', path), /is not a file/],
    ['a link to itself', (path) => symlinkSync(path, path), /ELOOP/],
    ['a sparse file of 1 TB', (path) => {
      writeFileSync(path, '')
      truncateSync(path, 1e12)
    }, /has 1000000000000 bytes; a set has at most 1000/]
  ])('%s is an error', async (_, make, reason) => {
    const path = join(folder, 'pins.jws')
    make(path)
    source = fileSource(path)
    await expect(fetchFrom(source)).rejects.toThrow(reason)
  })

  test('what changes while it is read is read again', async () => {
    const path = join(folder, 'pins.jws')
    writeFileSync(path, 'one')
    source = fileSource(path)
    const promises = jest.requireActual<typeof import('node:fs/promises')>('node:fs/promises')
    const { open } = promises
    const spy = jest.spyOn(promises, 'open').mockImplementationOnce(async (...args) => {
      const handle = await open(...args)
      const read = handle.read.bind(handle) as (...args: unknown[]) => Promise<unknown>
      handle.read = (async (...given: unknown[]) => {
        const answer = await read(...given)
        writeFileSync(path, 'two')
        return answer
      }) as typeof handle.read
      return handle
    })
    expect((await fetchFrom(source)).text).toBe('two')
    expect(spy).toHaveBeenCalledTimes(2)
    spy.mockRestore()
  })

  test('it ends when the fetch is aborted', async () => {
    const path = join(folder, 'pins.jws')
    writeFileSync(path, 'one')
    source = fileSource(path)
    await expect(source.fetch({ signal: AbortSignal.abort(new Error('closed')), etag: undefined, maxBytes: 10, agent })).rejects.toThrow('closed')
  })

  test.each([['an empty text', ''], ['a text with NUL', 'a\0b'], ['nothing', undefined], ['a number', 7]])('%s is no path', (_, given) => {
    expect(() => fileSource(given as string)).toThrow(PolicyInvalidError)
  })
})

test.each<[string, unknown, RegExp]>([
  ['no time', { pollMs: 0 }, /fileSource.pollMs: must be milliseconds from 1 to 2147483647, not 0/],
  ['no number', { pollMs: NaN }, /fileSource.pollMs: .*not NaN/],
  ['a time that Node has no timer for', { searchMs: 2 ** 31 }, /fileSource.searchMs: .*not 2147483648/],
  ['a text', { quietMs: '50' }, /fileSource.quietMs: .*not a string/],
  ['an unknown name', { poll: 5 }, /fileSource.poll: .*did you mean "pollMs"/],
  ['nothing', null, /fileSource must be an object, not null/]
])('an option that cannot be used is named: %s', (_name, options, message) => {
  expect(() => fileSource('pins.jws', options as never)).toThrow(message)
})
