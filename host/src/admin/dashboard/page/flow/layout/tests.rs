use super::*;

fn node(id: &str, column: Column, group: &str, health: Option<Health>) -> Node {
    Node {
        id: id.into(),
        column,
        name: id.into(),
        detail: String::new(),
        group: group.into(),
        health,
        provenance: Provenance::default(),
    }
}

fn edge(from: &str, to: &str, rate: f64) -> Edge {
    Edge { from: from.into(), to: to.into(), rate: Some(rate), errors: Some(0.5), added: Some(0.1) }
}

fn flow(endpoints: usize) -> Flow {
    let mut nodes = vec![
        node("edge", Column::Listener, "", None),
        node("r1", Column::Route, "", None),
        node("f1", Column::Filter, "edge", None),
        node("f2", Column::Filter, "edge", None),
        node("c", Column::Cluster, "", None),
    ];
    let mut edges = vec![edge("edge", "r1", 9.0), edge("r1", "f1", 9.0), edge("f1", "f2", 9.0), edge("f2", "c", 9.0)];
    for number in 0..endpoints {
        let health = if number + 1 == endpoints { Health::Unhealthy } else { Health::Healthy };
        nodes.push(node(&format!("e{number}"), Column::Endpoint, "c", Some(health)));
        edges.push(edge("c", &format!("e{number}"), 2.0));
    }
    edges.push(edge("c", "nobody", 1.0));
    Flow { nodes, edges }
}

#[test]
fn boxes_of_a_column_do_not_overlap_and_stay_inside() {
    let flow = flow(9);
    let drawing = lay_out(&flow);
    for (place, one) in drawing.places.iter().enumerate() {
        assert!(one.y >= TOP && one.y + one.height <= drawing.height && one.x + one.width <= WIDTH);
        for other in drawing.places.iter().skip(place + 1) {
            let apart = one.x + one.width <= other.x
                || other.x + other.width <= one.x
                || one.y + one.height <= other.y
                || other.y + other.height <= one.y;
            assert!(apart, "{} and {}", one.node.id, other.node.id);
        }
    }
}

#[test]
fn who_is_in_trouble_has_a_box_of_its_own_and_the_rest_share_one() {
    let flow = flow(9);
    let drawing = lay_out(&flow);
    assert!(drawing.places.iter().any(|place| place.node.id == "e8"));
    let rest = drawing.places.iter().find(|place| place.more.is_some()).unwrap();
    assert_eq!(rest.more, Some(5));
    let wire = drawing.wires.iter().find(|wire| wire.edge.to == rest.node.id).unwrap();
    assert_eq!((wire.edge.rate, wire.edge.errors), (Some(10.0), Some(0.5)));
    assert_eq!(drawing.left_out, 0);
}

#[test]
fn edges_to_nowhere_are_not_drawn_and_five_endpoints_are() {
    let flow = flow(5);
    let drawing = lay_out(&flow);
    assert!(drawing.places.iter().all(|place| place.more.is_none()));
    assert_eq!(drawing.wires.len(), 4 + 5);
}

#[test]
fn huge_configurations_are_drawn_in_part() {
    let mut flow = Flow::default();
    for number in 0..5_000 {
        flow.nodes.push(node(&format!("c{number}"), Column::Cluster, "", None));
        flow.nodes.push(node(&format!("r{number}"), Column::Route, "", None));
        flow.edges.push(edge(&format!("r{number}"), &format!("c{number}"), f64::NAN));
    }
    let drawing = lay_out(&flow);
    assert_eq!((drawing.places.len(), drawing.wires.len()), (2 * COLUMN, COLUMN));
    assert_eq!(drawing.left_out, 10_000 - 2 * COLUMN);
}
