import { runChild } from '../support/child.js'

// 500 hosts in one process: how long it takes, how many at a time, and that memory does not grow with the rounds.
test('500 local hosts in one process', async () => {
  const ended = await runChild(
    `
    const { fork } = await import('node:child_process')
    const { writeFileSync, mkdtempSync } = await import('node:fs')
    const { PassThrough, Readable } = await import('node:stream')
    const { join } = await import('node:path')
    const { tmpdir } = await import('node:os')
    const folder = mkdtempSync(join(tmpdir(), 'check-500-'))

    // The servers are in a process of their own.
    writeFileSync(join(folder, 'servers.mjs'), \`
      import tls from 'node:tls'
      const { createAuthority } = await import(process.argv[2])
      const root = createAuthority()
      const issuing = root.issueAuthority()
      let open = 0, most = 0, bytes = 0
      const pins = {}
      for (let i = 0; i < 500; i++) {
        const leaf = issuing.issue({ name: 'host' + i })
        const server = tls.createServer({ cert: leaf.pem + issuing.pem, key: leaf.keyPem }, (socket) => socket.on('data', (chunk) => (bytes += chunk.length)).on('error', () => {}))
        server.on('connection', (socket) => { most = Math.max(most, ++open); socket.on('close', () => open--) })
        await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
        pins['localhost:' + server.address().port] = [leaf.pin, createAuthority().pin]
      }
      process.on('message', () => process.send({ most, bytes }))
      process.send({ pins, ca: root.pem })
    \`)
    const servers = fork(join(folder, 'servers.mjs'), [import.meta.resolve(input.testing)], { stdio: 'inherit', execArgv: [] })
    const next = () => new Promise((resolve) => servers.once('message', resolve))
    const { pins, ca } = await next()
    writeFileSync(join(folder, 'pins.json'), JSON.stringify({ pins }))
    writeFileSync(join(folder, 'ca.pem'), ca)

    const { runProgram } = await load('cli/program.js')
    async function check() {
      const stdout = new PassThrough(), stderr = Object.assign(new PassThrough(), { isTTY: true, columns: 80, cursorTo() {}, clearLine() {}, moveCursor() {} })
      let text = '', line = ''
      stdout.on('data', (chunk) => (text += chunk))
      stderr.on('data', (chunk) => (line += chunk))
      const from = performance.now()
      const code = await runProgram(['check', '--json', '--ca', join(folder, 'ca.pem'), join(folder, 'pins.json')], { stdin: Readable.from([]), stdout, stderr, env: {} }, '0')
      const ms = performance.now() - from
      const { hosts } = JSON.parse(text)
      return { code, ms, count: hosts.length, well: hosts.filter(({ status }) => status === 'ok').length, progress: /checking \\[#* *-*\\] 500\\/500|checking \\[.*\\] \\d+\\/500/.test(line) }
    }
    const rounds = [], heaps = []
    let peak = 0
    const sampling = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
    const before = process.memoryUsage.rss()
    for (let i = 0; i < 8; i++) {
      rounds.push(await check())
      await new Promise((resolve) => setTimeout(resolve, 200))
      gc()
      heaps.push(process.memoryUsage().heapUsed)
    }
    clearInterval(sampling)
    servers.send('how many?')
    const { most, bytes } = await next()
    servers.kill()
    report({ rounds, heaps, most, bytes, before, peak })
    process.exit(0)
    `,
    { input: { testing: 'axios-ssl-pinning/testing' }, nodeOptions: ['--expose-gc'], timeoutMs: 240_000 }
  )
  expect([ended.code, ended.stderr]).toEqual([0, ''])
  const { rounds, heaps, most, bytes, before, peak } = ended.reported
  for (const round of rounds) {
    expect(round).toMatchObject({ code: 0, count: 500, well: 500, progress: true })
    expect(round.ms).toBeLessThan(10_000)
  }
  // At most 32 at a time; a server sees the end of a connection a little after its client.
  expect(most).toBeGreaterThan(8)
  expect(most).toBeLessThanOrEqual(64)
  expect(bytes).toBe(0)
  // The heap after each round: the later half is no larger than the earlier one.
  const middle = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] as number
  expect(middle(heaps.slice(4)) - middle(heaps.slice(1, 4))).toBeLessThan(1_500_000)
  expect(peak - before).toBeLessThan(300_000_000)
  console.log(`500 hosts: ${rounds.map(({ ms }: { ms: number }) => Math.round(ms)).join(', ')} ms; at most ${most} at a time; heap after each round ${heaps.map((heap: number) => (heap / 1e6).toFixed(1)).join(', ')} MB; peak of the whole process ${(peak / 1e6).toFixed(0)} MB, ${(before / 1e6).toFixed(0)} MB before`)
}, 260_000)
