import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileSource } from '../../lib/update/file-source.js'

// The promise is a second. Its own file and process, so that nothing else holds it up.
test('100 swaps of a ConfigMap, overwrites and renames: each is noticed within a second', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-source-'))
  const agent = new Agent()
  const waits: number[] = []
  for (const way of ['configmap', 'overwrite', 'rename']) {
    const home = join(folder, way)
    mkdirSync(home)
    const path = join(home, 'pins.jws')
    const change: Record<string, (text: string) => void> = {
      configmap: (text) => {
        mkdirSync(join(home, `..${text}`))
        writeFileSync(join(home, `..${text}`, 'pins.jws'), text)
        symlinkSync(`..${text}`, join(home, '..data_tmp'))
        renameSync(join(home, '..data_tmp'), join(home, '..data'))
      },
      overwrite: (text) => writeFileSync(path, text),
      rename: (text) => {
        writeFileSync(`${path}.new`, text)
        renameSync(`${path}.new`, path)
      }
    }
    change[way]?.('set 0')
    if (way === 'configmap') symlinkSync('..data/pins.jws', path)
    const source = fileSource(path)
    let seen: (text: string | undefined) => void = () => undefined
    source.subscribe?.(() => {
      source.fetch({ signal: AbortSignal.timeout(5_000), etag: undefined, maxBytes: 1_000, agent }).then(({ text }) => seen(text), () => undefined)
    })
    await new Promise((resume) => setTimeout(resume, 500))
    for (let round = 1; round <= 34; round++) {
      const text = `set ${way === 'overwrite' ? round + 100 : round}`
      const noticed = new Promise<void>((resolve) => (seen = (found) => found === text && resolve()))
      const since = performance.now()
      change[way]?.(text)
      await noticed
      waits.push(performance.now() - since)
      await new Promise((resume) => setTimeout(resume, Math.random() * 120))
    }
    await source.close?.()
  }
  rmSync(folder, { recursive: true, force: true })
  waits.sort((a, b) => a - b)
  console.log(`noticed after ${waits[0]?.toFixed(0)} to ${waits.at(-1)?.toFixed(0)} ms, median ${waits[waits.length >> 1]?.toFixed(0)} ms`)
  expect(waits).toHaveLength(102)
  expect(waits.at(-1)).toBeLessThan(1_000)
})
