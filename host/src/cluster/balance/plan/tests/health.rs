use super::*;

/// Two priorities of ten, so many of the first healthy.
fn priorities(healthy: usize) -> Vec<Host> {
    let mut hosts = hosts(20);
    for host in &mut hosts[10..] {
        host.priority = 7;
    }
    for host in &mut hosts[healthy..10] {
        host.health = Health::Unhealthy;
    }
    hosts
}

fn with_health(health: &[Health]) -> Vec<Host> {
    hosts(health.len()).into_iter().zip(health).map(|(host, health)| Host { health: *health, ..host }).collect()
}

fn refusal(plan: &Plan, usable: &impl Fn(usize) -> bool) -> NoHost {
    plan.pick(&Request::default(), &mut Local::new(1), &Fleet::idle(), usable).unwrap_err()
}

#[test]
fn load_overflows_to_the_next_priority() {
    for policy in policies() {
        for (healthy, first) in [(10, 1.0), (8, 1.0), (5, 0.7), (2, 0.28), (0, 0.0)] {
            let plan = plan(&self::policy(policy), &priorities(healthy));
            let found = idle_shares(&plan, 100_000);
            let own: f64 = found[..10].iter().sum();
            assert!((own - first).abs() < 0.01, "{policy:?}: {own} for {healthy} of 10");
            assert!(found[healthy..10].iter().all(|share| *share == 0.0), "unhealthy hosts get nothing");
        }
    }
}

#[test]
fn a_retry_can_leave_the_priority_that_failed() {
    let plan = plan(&Settings::default(), &priorities(10));
    let to = |avoid: &[usize], avoid_priorities_of: &[usize]| {
        let found =
            shares(&plan, 1000, &Request { avoid, avoid_priorities_of, ..Request::default() }, &Fleet::idle(), &all);
        found[..10].iter().sum::<f64>() > 0.5
    };
    assert_eq!((to(&[], &[]), to(&[3], &[]), to(&[3], &[3]), to(&[], &[3])), (true, true, false, false));
    assert!(to(&[3, 13], &[3, 13]), "both were seen, so the ordinary load holds");
}

#[test]
fn in_panic_every_host_is_used() {
    for policy in policies() {
        let plan = plan(&self::policy(policy), &with_health(&[Health::Healthy, Health::Unhealthy, Health::Unhealthy]));
        let found = shares(&plan, 200_000, &Request::default(), &Fleet::idle(), &|host| host == 0);
        assert_near(&found, &[1.0 / 3.0; 3], 0.02);
    }
}

#[test]
fn total_panic_spreads_by_the_number_of_hosts() {
    let mut hosts = priorities(1);
    for host in &mut hosts[12..] {
        host.health = Health::Unhealthy;
    }
    hosts.truncate(18);
    let found = idle_shares(&plan(&policy(Policy::Random), &hosts), 200_000);
    let first: f64 = found[..10].iter().sum();
    // 10 of 18 are 55%, 8 are 44%, and what rounding leaves goes to the first.
    assert!((first - 0.56).abs() < 0.01, "{first}");
}

#[test]
fn panic_can_be_switched_off_or_set_to_fail() {
    let sick = with_health(&[Health::Unhealthy; 3]);
    let one = with_health(&[Health::Healthy, Health::Unhealthy, Health::Unhealthy]);
    let off = Settings { panic_threshold: 0, ..Settings::default() };
    assert_eq!(refusal(&plan(&off, &sick), &all), NoHost::Unhealthy);
    assert_near(&idle_shares(&plan(&off, &one), 100), &[1.0, 0.0, 0.0], 0.0);
    let fail = Settings { on_panic: OnPanic::Fail, ..Settings::default() };
    assert_eq!(refusal(&plan(&fail, &one), &all), NoHost::Panic);
}

#[test]
fn degraded_hosts_take_the_overflow() {
    let mut health = vec![Health::Healthy; 5];
    health.extend([Health::Degraded; 5]);
    for policy in policies() {
        let found = idle_shares(&plan(&self::policy(policy), &with_health(&health)), 100_000);
        let healthy: f64 = found[..5].iter().sum();
        assert!((healthy - 0.7).abs() < 0.01, "{policy:?}: {healthy}");
    }
}

#[test]
fn draining_hosts_get_nothing_unless_there_is_nothing_else() {
    for policy in policies() {
        let settings = self::policy(policy);
        let mixed = with_health(&[Health::Draining, Health::Healthy, Health::Draining, Health::Draining]);
        assert_near(&idle_shares(&plan(&settings, &mixed), 1000), &[0.0, 1.0, 0.0, 0.0], 0.0);
        let leaving = with_health(&[Health::Draining; 2]);
        assert_near(&idle_shares(&plan(&settings, &leaving), 100_000), &[0.5, 0.5], 0.05);
        let off = Settings { panic_threshold: 0, ..settings };
        let found = idle_shares(&plan(&off, &with_health(&[Health::Unhealthy, Health::Draining])), 100);
        assert_near(&found, &[0.0, 1.0], 0.0);
    }
}

#[test]
fn hosts_taken_out_a_moment_ago_are_passed_over() {
    for policy in policies() {
        let plan = plan(&self::policy(policy), &priorities(10));
        let found = shares(&plan, 2000, &Request::default(), &Fleet::idle(), &|host| host == 3);
        assert!((found[3] - 1.0).abs() < 1e-9, "{policy:?}");
        let found = shares(&plan, 2000, &Request::default(), &Fleet::idle(), &|host| host >= 10);
        assert!((found[10..].iter().sum::<f64>() - 1.0).abs() < 1e-9, "{policy:?}: the next priority serves");
    }
}

#[test]
fn when_all_are_taken_out_panic_decides() {
    for policy in policies() {
        let settings = self::policy(policy);
        assert!(
            plan(&settings, &hosts(3))
                .pick(&Request::default(), &mut Local::new(1), &Fleet::idle(), &|_| false)
                .is_ok()
        );
        let off = Settings { panic_threshold: 0, ..settings };
        assert_eq!(refusal(&plan(&off, &hosts(3)), &|_| false), NoHost::Unusable);
    }
}

#[test]
fn an_override_host_is_taken_while_it_may_be() {
    let mut hosts = hosts(4);
    hosts[1].health = Health::Draining;
    let plan = plan(&Settings::default(), &hosts);
    let pick = |wanted: Override, avoid: &[usize], usable: &dyn Fn(usize) -> bool| {
        let request = Request { override_host: Some(wanted), avoid, ..Request::default() };
        plan.pick(&request, &mut Local::new(4), &Fleet::idle(), &usable)
    };
    assert_eq!(pick(Override::Strict(2), &[], &all), Ok(2));
    assert_eq!(pick(Override::Preferred(2), &[], &all), Ok(2));
    for lost in [1, 4, usize::MAX] {
        assert_eq!(pick(Override::Strict(lost), &[], &all), Err(NoHost::Override), "draining or not there");
        assert!(pick(Override::Preferred(lost), &[], &all).is_ok_and(|host| host != 1));
    }
    assert_eq!(pick(Override::Strict(2), &[], &|host| host != 2), Err(NoHost::Override));
    assert!(pick(Override::Strict(2), &[2], &all).is_ok_and(|host| host != 2), "a retry is free");
}

#[test]
fn an_empty_cluster_says_so() {
    for policy in policies() {
        assert_eq!(refusal(&plan(&self::policy(policy), &[]), &all), NoHost::Empty);
    }
    assert_eq!(NoHost::Empty.to_string(), "the cluster has no endpoints");
}
