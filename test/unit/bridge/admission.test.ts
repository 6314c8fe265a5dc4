import { describe, expect, it } from 'vitest'
import { Admission } from '../../../src/bridge/admission.ts'
import { AddressCounter } from '../../../src/node/address-counter.ts'

describe('admission', () => {
  it('admits for its time and no longer, and each pass renews it', () => {
    let nowMs = 0
    const admission = new Admission(10, 1_000, () => nowMs)
    expect(admission.isAdmitted('a')).toBe(false)
    admission.admit('a', 'here')
    nowMs = 999
    expect(admission.isAdmitted('a')).toBe(true)
    admission.admit('a', 'here')
    nowMs = 1_998
    expect(admission.isAdmitted('a')).toBe(true)
    nowMs = 1_999
    expect(admission.isAdmitted('a')).toBe(false)
    expect(admission.size).toBe(0)
  })

  it('ends earlier where that is said, and never later', () => {
    let nowMs = 0
    const admission = new Admission(10, 1_000, () => nowMs)
    admission.admit('short', 'here', 500)
    admission.admit('long', 'here', 5_000)
    nowMs = 500
    expect([admission.isAdmitted('short'), admission.isAdmitted('long')]).toEqual([false, true])
    nowMs = 1_000
    expect(admission.isAdmitted('long')).toBe(false)
  })

  it('being asked for does not renew it', () => {
    let nowMs = 0
    const admission = new Admission(10, 1_000, () => nowMs)
    admission.admit('a', 'here')
    nowMs = 600
    expect(admission.isAdmitted('a')).toBe(true)
    nowMs = 1_200
    expect(admission.isAdmitted('a')).toBe(false)
  })

  it('forgets the longest unused when full: a flood of new keys does not push out who is active', () => {
    const admission = new Admission(3, 1_000, () => 0)
    for (const id of ['active', 'b', 'c']) admission.admit(id, 'here')
    for (let i = 0; i < 10; i++) {
      expect(admission.isAdmitted('active')).toBe(true)
      admission.admit(`new${i}`, 'here')
      expect(admission.size).toBe(3)
    }
    expect(admission.isAdmitted('active')).toBe(true)
    expect(admission.isAdmitted('b')).toBe(false)
  })

  it('forgets of the address that has most, and of the own one where another has as many', () => {
    const admission = new Admission(5, 1_000, () => 0)
    const areAdmitted = (...ids: string[]) => ids.map((id) => admission.isAdmitted(id))
    for (const id of ['a1', 'a2', 'a3']) admission.admit(id, 'a')
    for (const id of ['b1', 'b2']) admission.admit(id, 'b')
    admission.admit('b3', 'b')
    expect(areAdmitted('a1', 'a2', 'a3', 'b1', 'b2', 'b3')).toEqual([false, true, true, true, true, true])
    admission.admit('a4', 'a')
    expect(areAdmitted('b1', 'a2')).toEqual([false, true])
    for (let i = 0; i < 10; i++) admission.admit(`a${5 + i}`, 'a')
    expect(areAdmitted('b2', 'b3', 'a14')).toEqual([true, true, true])
    admission.admit('c1', 'c')
    expect(areAdmitted('b2', 'b3', 'c1')).toEqual([true, true, true])
    expect(admission.size).toBe(5)
  })

  it('forgets nobody who is connected, and takes nobody where all are', () => {
    let nowMs = 0
    const admission = new Admission(2, 1_000, () => nowMs)
    for (const id of ['a', 'b']) {
      expect(admission.admit(id, 'here')).toBe(true)
      admission.setConnected(id, true)
    }
    expect(admission.admit('c', 'there')).toBe(false)
    expect(admission.admit('b', 'there')).toBe(true)
    admission.setConnected('a', false)
    expect(admission.admit('c', 'there')).toBe(true)
    expect(['a', 'b', 'c'].map((id) => admission.isAdmitted(id))).toEqual([false, true, true])
    nowMs = 1_000
    expect(admission.size).toBe(2)
    admission.forgetLapsed()
    expect(admission.size).toBe(0)
    expect(admission.admit('d', 'there')).toBe(true)
  })
})

it('the address counter counts up and down, and uncounts once', () => {
  const counter = new AddressCounter()
  const first = counter.add('a')
  const second = counter.add('a')
  counter.add('b')
  expect([counter.total, counter.of('a'), counter.of('b'), counter.of('c')]).toEqual([3, 2, 1, 0])
  first()
  first()
  expect([counter.total, counter.of('a')]).toEqual([2, 1])
  second()
  expect([counter.total, counter.of('a')]).toEqual([1, 0])
})
