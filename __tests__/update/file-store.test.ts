import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PolicyInvalidError } from '../../lib/errors.js'
import { fileStore } from '../../lib/update/file-store.js'
import type { PinSetState } from '../../lib/update/store.js'
import { runChild } from '../support/child.js'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-store-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function stateOf(version: number, text = `set ${version}`): PinSetState {
  return { version, hash: createHash('sha256').update(text).digest('base64url'), text, links: [`link of ${version}`] }
}

function fileOf(version: number): string {
  const file = readdirSync(folder).find((each) => each.startsWith(`${version}.`) && each.endsWith('.json'))
  return join(folder, file as string)
}

test('what was saved is there in the next process, and nothing before the first save', async () => {
  expect(await fileStore(folder).load()).toBeUndefined()
  await fileStore(folder).save(stateOf(3))
  expect(await fileStore(folder).load()).toEqual(stateOf(3))
  await fileStore(folder).save(stateOf(4))
  expect(await fileStore(folder).load()).toEqual(stateOf(4))
})

test('a missing folder is made, for its owner only, and so are the files', async () => {
  const nested = join(folder, 'a', 'b')
  expect(await fileStore(nested).load()).toBeUndefined()
  expect(existsSync(nested)).toBe(false)
  await fileStore(nested).save(stateOf(1))
  expect(statSync(nested).mode & 0o777).toBe(0o700)
  expect(readdirSync(nested).map((file) => statSync(join(nested, file)).mode & 0o777)).toEqual([0o600])
})

test('a lower version is never stored over a higher one, in whatever order they are saved', async () => {
  const store = fileStore(folder)
  await store.save(stateOf(7))
  await store.save(stateOf(5))
  expect(await store.load()).toEqual(stateOf(7))
  expect(readdirSync(folder)).toHaveLength(1)
})

test('old versions are removed, the newest three stay; saving the same again writes nothing', async () => {
  const store = fileStore(folder)
  for (let version = 1; version <= 12; version++) await store.save(stateOf(version))
  const files = readdirSync(folder).sort()
  expect(files.map((file) => Number(file.split('.')[0]))).toEqual([10, 11, 12])
  await store.save(stateOf(12))
  expect(readdirSync(folder).sort()).toEqual(files)
})

describe('a damaged file is set aside, its set not used, and its version still the lowest that counts', () => {
  const damage: Record<string, (path: string) => void> = {
    'truncated': (path) => truncateSync(path, statSync(path).size - 5),
    'empty': (path) => writeFileSync(path, ''),
    'longer': (path) => writeFileSync(path, ' ', { flag: 'a' }),
    'one bit flipped': (path) => {
      const content = readFileSync(path)
      content[10] = (content[10] as number) ^ 1
      writeFileSync(path, content)
    },
    'an older file under the newer name': (path) => writeFileSync(path, readFileSync(fileOf(1))),
    'a link to a file elsewhere': (path) => {
      renameSync(path, join(folder, 'elsewhere'))
      symlinkSync(join(folder, 'elsewhere'), path)
    },
    'a folder': (path) => {
      rmSync(path)
      mkdirSync(path)
    },
    'a pipe': (path) => {
      rmSync(path)
      execFileSync('mkfifo', [path])
    },
    'larger than any set': (path) => truncateSync(path, 20_000_000)
  }
  test.each(Object.entries(damage))('%s', async (_, act) => {
    const store = fileStore(folder)
    await store.save(stateOf(1))
    await store.save(stateOf(2))
    act(fileOf(2))
    // The links to the signing keys are those that the older version knew.
    expect(await store.load()).toEqual({ version: 2, hash: stateOf(2).hash, text: undefined, links: ['link of 1', 'set 1'] })
    expect(readdirSync(folder).filter((file) => file.endsWith('.damaged'))).toHaveLength(1)
    // Also the next time, and after an attempt to go back.
    await store.save(stateOf(1, 'another'))
    expect(await fileStore(folder).load()).toMatchObject({ version: 2, text: undefined })
    // The same version, fetched again, heals it.
    await store.save(stateOf(2))
    expect(await fileStore(folder).load()).toEqual(stateOf(2))
  })

  test('content that was changed together with its checksum, but not with its version', async () => {
    const store = fileStore(folder)
    await store.save(stateOf(9))
    const path = fileOf(9)
    const forged = JSON.stringify({ ...stateOf(8) })
    const [version, hash, , random] = (path.split('/').pop() as string).split('.')
    rmSync(path)
    writeFileSync(join(folder, `${version}.${hash}.${createHash('sha256').update(forged).digest('hex')}.${random}.json`), forged)
    expect(await store.load()).toEqual({ version: 9, hash: stateOf(9).hash, text: undefined, links: [] })
  })
})

test('a damaged file is kept for a look at it, but not for ever', async () => {
  const store = fileStore(folder)
  for (let version = 1; version <= 8; version++) {
    await store.save(stateOf(version))
    writeFileSync(fileOf(version), 'damaged')
    await store.load()
  }
  await store.save(stateOf(9))
  expect(readdirSync(folder).filter((file) => file.endsWith('.damaged')).map((file) => Number(file.split('.')[0])).sort()).toEqual([6, 7, 8])
})

test('two sets with the same version: every process takes the same one', async () => {
  await fileStore(folder).save(stateOf(5, 'one'))
  await fileStore(folder).save(stateOf(5, 'other'))
  const first = await fileStore(folder).load()
  expect(await fileStore(folder).load()).toEqual(first)
})

describe('what cannot be stored whole leaves its version behind, and its hash', () => {
  const large = (version: number): PinSetState => ({ ...stateOf(version), links: Array.from({ length: 3 }, () => 'x'.repeat(50 * 1024 * 1024)) })

  test('so that nothing older is taken after a restart', async () => {
    const store = fileStore(folder)
    await store.save(stateOf(3))
    await expect(store.save(large(9))).rejects.toThrow(/take 157286405 bytes; at most 134217728 are stored, and of this one its version alone is/)
    expect(await fileStore(folder).load()).toEqual({ version: 9, hash: stateOf(9).hash, text: undefined, links: [...stateOf(3).links, 'set 3'] })
    await store.save(stateOf(10))
    expect(await fileStore(folder).load()).toEqual(stateOf(10))
  })

  test('and the last set that was stored tells of the signing keys, however long ago that was', async () => {
    const store = fileStore(folder)
    await store.save(stateOf(3))
    for (let version = 4; version <= 8; version++) await store.save({ ...stateOf(version), links: large(version).links }).catch(() => undefined)
    expect(await fileStore(folder).load()).toMatchObject({ version: 8, text: undefined, links: [...stateOf(3).links, 'set 3'] })
    // Of each an empty file, and not for ever.
    expect(readdirSync(folder).sort().map((file) => [Number(file.split('.')[0]), file.endsWith('.json') || statSync(join(folder, file)).size])).toEqual([[3, true], [6, 0], [7, 0], [8, 0]])
    for (let version = 9; version <= 11; version++) await store.save(stateOf(version))
    expect(readdirSync(folder).filter((file) => file.endsWith('.json')).map((file) => Number(file.split('.')[0])).sort((a, b) => a - b)).toEqual([9, 10, 11])
  })
})

test('the longest set that there may be is stored', async () => {
  const longest = { ...stateOf(4), text: 'x'.repeat(64 * 1024 * 1024) }
  await fileStore(folder).save(longest)
  expect((await fileStore(folder).load())?.text?.length).toBe(longest.text.length)
})

test('a damaged file that cannot be set aside still counts with its version', async () => {
  await fileStore(folder).save(stateOf(3))
  await fileStore(folder).save(stateOf(4))
  const path = fileOf(4)
  truncateSync(path, 10)
  // As on a file system that is read only: nothing can have the new name.
  mkdirSync(join(`${path}.damaged`, 'full'), { recursive: true })
  expect(await fileStore(folder).load()).toEqual({ version: 4, hash: stateOf(4).hash, text: undefined, links: [...stateOf(3).links, 'set 3'] })
  expect(existsSync(path)).toBe(true)
})

test('a folder that everybody may write to is refused', async () => {
  chmodSync(folder, 0o777)
  await expect(fileStore(folder).save(stateOf(1))).rejects.toThrow(/everybody may write/)
  await expect(fileStore(folder).load()).rejects.toThrow(/0700/)
})

test.each([[{ version: 1.5 }], [{ version: -1 }], [{ hash: 'short' }], [{ hash: '../../../../etc/passwd' }]])('%p is no state, and is not stored', async (wrong) => {
  await expect(fileStore(folder).save({ ...stateOf(1), ...wrong })).rejects.toThrow(TypeError)
  expect(readdirSync(folder)).toEqual([])
})

test('a folder that cannot be read is a rejection, not an empty store', async () => {
  writeFileSync(join(folder, 'file'), '')
  await expect(fileStore(join(folder, 'file')).load()).rejects.toThrow(/ENOTDIR|not a directory/)
})

test('files of others are left alone', async () => {
  for (const name of ['notes.txt', '99.json', '.keep']) writeFileSync(join(folder, name), 'x')
  await fileStore(folder).save(stateOf(2))
  expect(await fileStore(folder).load()).toEqual(stateOf(2))
  expect(readdirSync(folder)).toEqual(expect.arrayContaining(['notes.txt', '99.json', '.keep']))
})

test.each([['an empty text', ''], ['a text with NUL', 'a\0b'], ['nothing', undefined], ['a number', 7]])('%s is no folder', (_, given) => {
  expect(() => fileStore(given as string)).toThrow(PolicyInvalidError)
})

test('processes that save at the same time never lower what a reader sees', async () => {
  const script = `
    const { fileStore } = await load('update/file-store.js')
    const { existsSync } = await import('node:fs')
    const store = fileStore(input.folder)
    // Until the reader has seen enough, however busy the machine is.
    for (let round = 0; round < 60 || (round < 5_000 && !existsSync(input.enough)); round++) {
      const version = 1 + round * 4 + Math.floor(Math.random() * 4)
      await store.save({ version, hash: 'h'.repeat(43), text: 'set ' + version, links: [] })
    }
    report(true)
  `
  const shared = join(folder, 'store')
  const enough = join(folder, 'enough')
  const writers = Array.from({ length: 3 }, () => runChild(script, { input: { folder: shared, enough } }))
  let running = true
  const all = Promise.all(writers).finally(() => (running = false))
  let highest = 0
  let seen = 0
  while (running) {
    const state = await fileStore(shared).load()
    if (state) {
      expect(state.version).toBeGreaterThanOrEqual(highest)
      expect(state.text).toBe(`set ${state.version}`)
      if (state.version > highest) seen++
      highest = state.version
      if (seen === 6) writeFileSync(enough, '')
    }
    await new Promise((resume) => setImmediate(resume))
  }
  expect((await all).map((each) => each.reported ?? each.stderr)).toEqual([true, true, true])
  expect(seen).toBeGreaterThan(5)
  expect((await fileStore(shared).load())?.version).toBeGreaterThanOrEqual(237)
  expect(readdirSync(shared).filter((file) => file.endsWith('.damaged'))).toEqual([])
})
