import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore } from '../../lib/update/file-store.js'
import { runChild } from '../support/child.js'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-store-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/**
 * Saves one version, and is killed (SIGKILL, from within) when its file system calls have come to the number `killAt`: before
 * the call, or, where it writes, after half of what was to be written.
 */
const killed = `
  const fs = require('node:fs')
  const { syncBuiltinESMExports } = require('node:module')
  let calls = 0
  const die = () => { process.kill(process.pid, 'SIGKILL'); for (;;); }
  const counted = (owner, name) => {
    const real = owner[name]
    if (typeof real !== 'function') return
    owner[name] = function (...args) {
      if (armed && ++calls === input.killAt) {
        if (name === 'write' && Buffer.isBuffer(args[1])) fs.writeSync(args[0], args[1], 0, args[1].length >> 1, 0)
        die()
      }
      return real.apply(this, args)
    }
    Object.assign(owner[name], real)
  }
  let armed = false
  for (const name of ['realpath', 'stat', 'open', 'write', 'fsync', 'close', 'chown', 'chmod', 'rename', 'unlink']) counted(fs, name)
  for (const name of ['mkdir', 'open', 'readdir', 'rename', 'stat', 'unlink', 'lstat']) counted(fs.promises, name)
  const handle = await fs.promises.open('/dev/null')
  for (const name of ['read', 'stat', 'sync', 'close', 'write']) counted(Object.getPrototypeOf(handle), name)
  await handle.close()
  syncBuiltinESMExports()
  const { fileStore } = await load('update/file-store.js')
  await import('write-file-atomic')
  armed = true
  const store = fileStore(input.folder)
  await store.save(input.state)
  armed = false
  report(calls)
`

function stateOf(version: number) {
  return { version, hash: `${version}`.padStart(43, 'h'), text: `set ${version} `.repeat(1_000), links: [] }
}

test('kill -9 at every step of a write, 500 times: it opens, and its highest version never goes down', async () => {
  let highest = 0
  let survivors = 0
  let partial = 0
  let steps = 40
  const outcomes = new Map<number, Set<string>>()
  for (let round = 0; round < 500; round++) {
    const killAt = 1 + (round % (steps + 1))
    const state = stateOf(highest + 1 + (round % 3))
    const child = await runChild(killed, { input: { folder, killAt, state } })
    const found = await fileStore(folder).load()
    const version = found?.version ?? 0
    // The old one or the new one, whole.
    expect([highest, state.version]).toContain(version)
    if (version > 0) expect(found?.text).toBe(stateOf(version).text)
    if (child.signal === null) {
      expect([child.code, version, child.stderr]).toEqual([0, state.version, ''])
      survivors++
      steps = Math.max(20, child.reported as number)
    } else {
      expect(child.signal).toBe('SIGKILL')
    }
    if (readdirSync(folder).some((file) => /\.json\.\d+$/.test(file))) partial++
    outcomes.set(killAt, (outcomes.get(killAt) ?? new Set()).add(version === highest ? 'old' : 'new'))
    highest = Math.max(highest, version)
  }
  // The kills really came at steps before and after the one that decides, and some left a half-written file.
  expect([...outcomes.values()].some((each) => each.has('old'))).toBe(true)
  expect([...outcomes.entries()].some(([step, each]) => step < steps && each.has('new'))).toBe(true)
  expect(partial).toBeGreaterThan(0)
  expect(survivors).toBeGreaterThan(0)
  expect(survivors).toBeLessThan(250)
  expect(readdirSync(folder).filter((file) => file.endsWith('.damaged'))).toEqual([])
  // The first save that is let through tidies up.
  await fileStore(folder).save(stateOf(highest + 1))
  expect(readdirSync(folder).filter((file) => file.endsWith('.json')).length).toBe(3)
  for (const file of readdirSync(folder)) expect(statSync(join(folder, file)).mode & 0o077).toBe(0)
}, 600_000)

test('four writers, one of them killed again and again at any moment: a reader sees whole sets of rising versions', async () => {
  const script = `
    const { fileStore } = await load('update/file-store.js')
    const store = fileStore(input.folder)
    for (;;) {
      const version = ((await store.load())?.version ?? 0) + 1 + Math.floor(Math.random() * 3)
      await store.save({ version, hash: 'h'.repeat(43), text: ('set ' + version + ' ').repeat(1000), links: [] })
    }
  `
  const root = join(__dirname, '../..')
  const start = () => spawn(process.execPath, ['--input-type=module', '-e', `const input = ${JSON.stringify({ folder })}; const load = (path) => import(${JSON.stringify(join(root, 'dist/modules/esm'))} + '/' + path)\n${script}`], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] })
  const writers = Array.from({ length: 4 }, start)
  let highest = 0
  let changes = 0
  let kills = 0
  let nextKill = performance.now() + 500
  for (const end = performance.now() + 30_000; performance.now() < end; ) {
    const found = await fileStore(folder).load()
    if (found) {
      expect(found.version).toBeGreaterThanOrEqual(highest)
      expect(found.text).toBe(`set ${found.version} `.repeat(1_000))
      if (found.version > highest) changes++
      highest = found.version
    }
    if (performance.now() > nextKill) {
      const index = kills++ % writers.length
      const victim = writers[index] as ReturnType<typeof start>
      const exit = once(victim, 'exit')
      victim.kill('SIGKILL')
      expect(await exit).toEqual([null, 'SIGKILL'])
      writers[index] = start()
      nextKill = performance.now() + 200 + Math.random() * 300
    }
  }
  for (const writer of writers) {
    const exit = once(writer, 'exit')
    writer.kill('SIGKILL')
    // None had ended by itself, with an error.
    expect(await exit).toEqual([null, 'SIGKILL'])
  }
  expect((await fileStore(folder).load())?.version).toBeGreaterThanOrEqual(highest)
  expect(kills).toBeGreaterThan(20)
  expect(changes).toBeGreaterThan(100)
}, 120_000)
